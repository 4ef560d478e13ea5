"""Tunes a packed model: file and source in, a file of the same streams with better scales, norms and biases out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rbe_edge.codes.trellis import squared_norm
from rbe_edge.errors import OptionError
from rbe_edge.evaluation.divergence import Divergence, divergence
from rbe_edge.files.new_file import NewFile
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.format import writer
from rbe_edge.format.reader import RbeFile, read_file
from rbe_edge.packing.calibration import read_text
from rbe_edge.packing.forecast import Forecast
from rbe_edge.progress import Listener
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.model_info import TRELLIS_KINDS
from rbe_edge.runtime.text_windows import text_windows
from rbe_edge.tuning.dense_model import pieces, write_dense
from rbe_edge.tuning.descent import Course, Schedule, descend
from rbe_edge.tuning.distillation import distillation
from rbe_edge.tuning.parameters import Changes, Parameters

WINDOW = 512
_MOST_HELD_OUT = 8
_HELD_OUT_SHARE = 8  # one window of so many
_MARK = " tuned"  # behind packer.options

_RATES = {"copying": 3e-8, "going back": 8e-11, "held out": 3.3e-11, "in the engine": 5.4e-11}
"""Seconds of two AVX2 cores: for a weight; for a weight and token. SmolLM2-135M, processor time halved."""


@dataclass(frozen=True)
class TuneOptions:
    """steps: of the optimiser. batch: windows of 512 tokens (or the model's context) per step. learning_rate: the
    highest, relative to the parameters. threads: None for all cores; the bytes written do not depend on it. force:
    replace an existing file."""

    steps: int = 100
    batch: int = 2
    learning_rate: float = 5e-3
    seed: int = 0
    threads: int | None = None
    force: bool = False


@dataclass(frozen=True)
class TuneReport:
    """parameters: how many numbers were tuned. kept: the step whose parameters were kept, 0: those of the packed file.
    tokens: read for gradients. kl: by the engine, on windows of the text that no gradient saw, before and after."""

    path: Path
    parameters: int
    steps: int
    kept: int
    tokens: int
    seconds: float
    kl_before: float
    kl_after: float
    perplexity_ratio_before: float
    perplexity_ratio_after: float


def tune(
    file: Path,
    source: str | Path,
    text: str | None,
    out: Path,
    options: TuneOptions | None = None,
    progress: Listener | None = None,
) -> TuneReport:
    """Writes `out`: `file` with row scales, norms and biases that bring it closer to the source on text like this one.

    source: what it was packed from, a directory, checkpoint, GGUF or dense .rbe file. text: None for the one that
    comes with the package. progress: hears `done` and `total` in milliseconds. The same input gives the same bytes,
    whatever the number of threads. Parts that are not required speak of `file` as it was, and are left out. `out`
    appears when it is complete; on any failure nothing is left. The temporary directory needs room for both models with
    four bytes per weight, and for hidden states of the text; memory is that of one layer. Raises OptionError for files
    or a text that do not fit together.
    """
    options = options or TuneOptions()
    started = time.monotonic()
    _check(options)
    writer.check_target(Path(out), options.force)
    text = read_text(None) if text is None else text
    with ExitStack() as stack:
        claimed = stack.enter_context(writer.claim(Path(out), options.force))
        directory = stack.enter_context(scratch_directory("tune"))
        packed = stack.enter_context(Model.open(file))
        stored = read_file(Path(file))
        _check_model(file, packed)
        windows, held_out = _windows(packed, text)
        forecast = Forecast(progress, _RATES)
        forecast.plan(_work(stored, options, len(held_out), len(windows[0])))
        exact = _exact(source, packed, directory, forecast, stack)
        parameters = Parameters(packed)
        course = _descend(packed, exact, parameters, windows, held_out, options, directory, forecast)
        changes = parameters.changes()
        candidate = directory / "tuned.rbe"
        errors = {name: tensor.error for name, tensor in stored.tensors.items()}
        _write(stored, changes, errors, writer.claim(candidate, force=False))
        tuned = stack.enter_context(Model.open(candidate, verify=False))
        errors |= _changed_errors(stored, changes, tuned, exact)
        held = [windows[number] for number in held_out]
        before, after = (_measure(model, exact, held, options.threads or 0, forecast) for model in (packed, tuned))
        forecast.tell("writing")
        _write(stored, changes, errors, claimed)
    return TuneReport(
        Path(out),
        parameters.count,
        options.steps,
        course.kept,
        options.steps * options.batch * len(windows[0]),
        time.monotonic() - started,
        before.kl,
        after.kl,
        before.perplexity_ratio,
        after.perplexity_ratio,
    )


def _check_model(file: Path, packed: Model) -> None:
    """Raises OptionError for what cannot be tuned."""
    if packed.encoder_info.is_encoder:
        raise OptionError(f"{file}: is an encoder; only models that write text can be tuned")
    if packed.encoder_decoder is not None:
        raise OptionError(
            f"{file}: is an encoder-decoder, and tuning reads one text, not texts with their answers; pack it with "
            "more bits, or with --effort best"
        )
    if not any(tensor.kind in TRELLIS_KINDS for tensor in packed.tensors.values()):
        raise OptionError(f"{file}: holds no coded matrix, so there is nothing to tune; pack it with --bits 2 to 8")


def _check(options: TuneOptions) -> None:
    for name in ("steps", "batch"):
        if not 1 <= getattr(options, name) <= 1_000_000:
            raise OptionError(f"--{name} is a count from 1 to a million")
    if not 0 < options.learning_rate <= 0.1:
        raise OptionError(f"--learning-rate {options.learning_rate:g} is not possible; give 0 to .1, such as 5e-3")
    if not 0 <= options.seed < 2**63:
        raise OptionError("--seed is a number from 0 to 2^63 - 1")
    if options.threads is not None and not 1 <= options.threads <= 64:
        raise OptionError(f"--threads {options.threads} is not possible; give 1 to 64, or none for all cores")


def _work(stored: RbeFile, options: TuneOptions, n_held_out: int, size: int) -> dict[str, float]:
    """What is ahead, in the units of _RATES."""
    weights = float(sum(tensor.entry.rows * tensor.entry.cols for tensor in stored.tensors.values()))
    checks = sum(Schedule(options.steps, 1, 1, 0).is_checked(step) for step in range(options.steps + 1))
    return {
        "copying": 2 * weights,
        "going back": weights * size * options.batch * options.steps,
        "held out": weights * size * n_held_out * checks,
        "in the engine": 2 * weights * size * n_held_out,
    }


def _exact(source: str | Path, packed: Model, directory: Path, forecast: Forecast, stack: ExitStack) -> Model:
    """The source with all its tensors in fp32, opened on the stack: itself or a file in the directory."""
    weights = float(sum(tensor.rows * tensor.cols for tensor in packed.tensors.values()))
    path = directory / "source.rbe"
    with forecast.doing("copying", "reading", weights) as report:
        if str(source).endswith(".rbe"):
            given = stack.enter_context(Model.open(Path(source)))
            _check_pair(packed, given)
            if all(tensor.kind == "fp32" for tensor in given.tensors.values()):
                return given
            write_dense(given, path, report)
            given.close()
        else:
            from rbe_edge.packing.pack import PackOptions, pack

            pack(source, path, PackOptions(bits=32), lambda what, done, total: report(done, total))
    exact = stack.enter_context(Model.open(path, verify=False))
    _check_pair(packed, exact)
    return exact


def _check_pair(packed: Model, exact: Model) -> None:
    if any(tensor.kind in TRELLIS_KINDS for tensor in exact.tensors.values()):
        raise OptionError(f"{exact.info.path}: is coded itself; give what it was packed from")
    ours, theirs = (model.metadata.get("source.sha256") for model in (packed, exact))
    if ours != theirs:
        raise OptionError(f"{packed.info.path}: was not packed from this source; give the one it was packed from")


def _windows(model: Model, text: str) -> tuple[list[Sequence[int]], list[int]]:
    """Whole windows, and the numbers of those held out: evenly among them."""
    size = min(WINDOW, model.info.context)
    windows = [window for window in text_windows(model, text, size) if len(window) == size]
    if len(windows) < 2:
        n = len(model.tokenize(text, special=False))
        raise OptionError(f"the text has {n} tokens; tuning needs at least {2 * size}")
    n_held_out = min(max(len(windows) // _HELD_OUT_SHARE, 1), _MOST_HELD_OUT)
    return windows, sorted({(2 * i + 1) * len(windows) // (2 * n_held_out) for i in range(n_held_out)})


def _descend(
    packed: Model,
    exact: Model,
    parameters: Parameters,
    windows: Sequence[Sequence[int]],
    held_out: Sequence[int],
    options: TuneOptions,
    directory: Path,
    forecast: Forecast,
) -> Course:
    """Leaves in the parameters what is best on the windows held out."""
    weights = sum(tensor.rows * tensor.cols for tensor in packed.tensors.values())
    with forecast.doing("copying", "decoding", weights) as report:
        copy = write_dense(packed, directory / "decoded.rbe", report)
    schedule = Schedule(options.steps, options.batch, options.learning_rate, options.seed)
    seen = [number for number in range(len(windows)) if number not in held_out]
    with distillation(copy, exact, windows, options.threads or 0) as model:
        course = descend(model, copy, parameters, seen, held_out, schedule, forecast)
    copy.path.unlink()
    return course


def _measure(model: Model, exact: Model, held: Sequence[Sequence[int]], threads: int, forecast: Forecast) -> Divergence:
    """By the engine as it is used, which quantises activations."""
    tokens = [token for window in held for token in window]
    units = float(len(tokens) * sum(tensor.rows * tensor.cols for tensor in exact.tensors.values()))
    with forecast.doing("in the engine", "measuring", units) as report:
        return divergence(model, exact, tokens, window=len(held[0]), threads=threads, progress=report)


def _changed_errors(stored: RbeFile, changes: Changes, tuned: Model, exact: Model) -> dict[str, float]:
    """Of the tensors that are not what they were."""
    found = {}
    for name in stored.tensors:
        matrix, rows = stored.rows_of(name)
        if matrix in changes.gains or matrix in changes.vectors:
            found[name] = _error(tuned, exact, matrix, rows)
    return found


def _error(tuned: Model, exact: Model, name: str, rows: slice) -> float:
    """Of rows of a tensor: squared, relative to the squared norm of the source's."""
    norm = error = 0.0
    for piece in pieces(rows.stop - rows.start, exact.tensors[name].cols):
        first, n = rows.start + piece.start, piece.stop - piece.start
        expected, found = (model.tensor_rows(name, first, n) for model in (exact, tuned))
        norm += squared_norm(expected)
        error += squared_norm(found - expected)
    return error / norm if norm > 0 else 0.0


def _write(stored: RbeFile, changes: Changes, errors: Mapping[str, float], out: NewFile) -> None:
    """The file again, with the changes and the parts that it cannot do without."""
    made_by = str(stored.metadata.get("packer.options", "")).removesuffix(_MARK)
    metadata = {**stored.metadata, "packer.options": f"{made_by}{_MARK}"}
    entries = [tensor.entry for tensor in stored.tensors.values()]
    parts = [part for part in stored.parts.values() if part.required]
    with writer.PackWriter(
        out.path, metadata, stored.codebooks, stored.blobs, entries, claimed=out, parts=parts
    ) as file:
        for name, tensor in stored.tensors.items():
            file.write_tensor([_data(stored, changes, name)], errors[name], tensor.tensor_scale)
        file.commit()


def _data(stored: RbeFile, changes: Changes, name: str) -> bytes:
    """The data of a tensor with its change in it. A scale that fp16 cannot hold stays what it was."""
    if name in changes.vectors:
        return changes.vectors[name].astype("<f4").tobytes()
    data = stored.data(name)
    matrix, rows = stored.rows_of(name)
    if matrix in changes.gains:
        for scales in stored.row_scales(name, data):
            with np.errstate(over="ignore"):
                changed = (scales.astype(np.float32) * changes.gains[matrix][rows]).astype(np.float16)
            np.copyto(scales, changed, where=np.isfinite(changed))
    return bytes(data)
