"""Tunes a packed model: file and source in, a file of the same streams with better scales, norms and biases out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rbe_edge.codes.trellis import squared_norm
from rbe_edge.errors import MissingExtra, OptionError
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.files.new_file import NewFile
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.format import writer
from rbe_edge.format.reader import RbeFile, read_file
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.model import Model

if TYPE_CHECKING:
    from rbe_edge.tuning.decoder import Changes
    from rbe_edge.tuning.descent import Course

WINDOW = 512
_MOST_HELD_OUT = 12
_HELD_OUT_SHARE = 8  # one window of so many
_MARK = " tuned"  # behind packer.options


@dataclass(frozen=True)
class TuneOptions:
    """steps: of the optimiser. batch: windows of 512 tokens (or the model's context) whose gradient is computed at
    once, which is what takes memory. accumulate: batches per step. learning_rate: the highest, relative to the
    parameters. threads: None for all cores; other counts may round otherwise. force: replace an existing file."""

    steps: int = 100
    batch: int = 1
    accumulate: int = 4
    learning_rate: float = 3e-3
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
    text: str,
    out: Path,
    options: TuneOptions | None = None,
    progress: Listener | None = None,
) -> TuneReport:
    """Writes `out`: `file` with row scales, norms and biases that bring it closer to the source on text like this one.

    source: what it was packed from, a directory, checkpoint or dense .rbe file. The same input gives the same bytes on
    one machine and number of threads. Parts speak of `file` as it was, and are left out. `out` appears when it is
    complete; on any failure nothing is left. Memory: both models with four bytes per weight, and the activations of a
    batch. Raises MissingExtra without PyTorch, OptionError for files or a text that do not fit together.
    """
    options = options or TuneOptions()
    steps = Progress(progress)
    started = time.monotonic()
    _check(options)
    writer.check_target(Path(out), options.force)
    _require_torch()
    with ExitStack() as stack:
        claimed = stack.enter_context(writer.claim(Path(out), options.force))
        directory = stack.enter_context(scratch_directory("tune"))
        packed = stack.enter_context(Model.open(file))
        stored = read_file(Path(file))
        if not any(tensor.is_trellis for tensor in stored.tensors.values()):
            raise OptionError(f"{file}: holds no coded matrix, so there is nothing to tune; pack it with --bits 2 to 8")
        dense = _dense(source, directory, steps)
        exact = stack.enter_context(Model.open(dense))
        _check_pair(packed, exact)
        windows, held_out = _windows(packed.tokenize(text, special=False), min(WINDOW, packed.info.context))
        count, changes, course = _descend(packed, exact, stored, windows, held_out, options, steps)
        steps.tell("measuring", 0, 1)
        candidate = directory / "tuned.rbe"
        errors = {name: tensor.error for name, tensor in stored.tensors.items()}
        _write(stored, changes, errors, writer.claim(candidate, force=False))
        tuned = stack.enter_context(Model.open(candidate))
        for name in (*changes.gains, *changes.vectors):
            errors[name] = _error(tuned, exact, name)
        held = [token for window in held_out for token in window]
        threads = options.threads or 0
        before, after = (
            divergence(model, exact, held, window=len(held_out[0]), threads=threads) for model in (packed, tuned)
        )
        steps.tell("writing", 1, 1)
        _write(stored, changes, errors, claimed)
    return TuneReport(
        Path(out),
        count,
        options.steps,
        course.kept,
        options.steps * options.accumulate * options.batch * len(windows[0]),
        time.monotonic() - started,
        before.kl,
        after.kl,
        before.perplexity_ratio,
        after.perplexity_ratio,
    )


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("tuning needs PyTorch; install it with `pip install 'rbe-edge[tune]'`") from error


def _check(options: TuneOptions) -> None:
    for name in ("steps", "batch", "accumulate"):
        if getattr(options, name) < 1:
            raise OptionError(f"--{name} is a count, 1 or more")
    if not 0 < options.learning_rate <= 0.1:
        raise OptionError(f"--learning-rate {options.learning_rate:g} is not possible; give 0 to .1, such as 3e-3")
    if not 0 <= options.seed < 2**63:
        raise OptionError("--seed is a number from 0 to 2^63 - 1")
    if options.threads is not None and not 1 <= options.threads <= 64:
        raise OptionError(f"--threads {options.threads} is not possible; give 1 to 64, or none for all cores")


def _dense(source: str | Path, directory: Path, progress: Progress) -> Path:
    """The source as a dense .rbe file: itself, or packed without loss into the directory."""
    if str(source).endswith(".rbe"):
        return Path(source)
    from rbe_edge.packing.pack import PackOptions, pack

    def reading(what: str, done: int, total: int) -> None:
        progress.tell("reading", 0, total)

    pack(source, directory / "source.rbe", PackOptions(bits=32), reading)
    return directory / "source.rbe"


def _check_pair(packed: Model, exact: Model) -> None:
    if any(tensor.kind == "trellis" for tensor in exact.tensors.values()):
        raise OptionError(f"{exact.info.path}: is coded itself; give what it was packed from")
    ours, theirs = (model.metadata.get("source.sha256") for model in (packed, exact))
    if ours != theirs:
        raise OptionError(f"{packed.info.path}: was not packed from this source; give the one it was packed from")


def _windows(tokens: Sequence[int], size: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Whole windows for gradients, and evenly among them those held out."""
    windows = [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)]
    if len(windows) < 2:
        raise OptionError(f"the calibration text has {len(tokens)} tokens; tuning needs at least {2 * size}")
    n_held_out = min(max(len(windows) // _HELD_OUT_SHARE, 1), _MOST_HELD_OUT)
    held_out = {(2 * i + 1) * len(windows) // (2 * n_held_out) for i in range(n_held_out)}
    return (
        [window for i, window in enumerate(windows) if i not in held_out],
        [windows[i] for i in sorted(held_out)],
    )


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    """PyTorch with so many threads and only operations that give the same result every time."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def _descend(
    packed: Model,
    exact: Model,
    stored: RbeFile,
    windows: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    options: TuneOptions,
    progress: Progress,
) -> tuple[int, Changes, Course]:
    """How many parameters there are, what becomes of them, and how it went."""
    import torch

    from rbe_edge.tuning.decoder import Decoder
    from rbe_edge.tuning.descent import Schedule, descend
    from rbe_edge.tuning.parameters import Parameters

    schedule = Schedule(options.steps, options.batch, options.accumulate, options.learning_rate, options.seed)
    with _settings(options.threads or os.cpu_count() or 1):
        student, teacher = (Decoder(model, len(windows[0])) for model in (packed, exact))
        parameters = Parameters(student, stored)
        course = descend(teacher, student, parameters, windows, held_out, schedule, progress.of("tuning"))
        with torch.no_grad():
            return parameters.count, parameters.changes(), course


def _error(tuned: Model, exact: Model, name: str) -> float:
    """Squared, relative to the squared norm of the source's tensor."""
    expected = exact.tensor_rows(name)
    norm = squared_norm(expected)
    return squared_norm(tuned.tensor_rows(name) - expected) / norm if norm > 0 else 0.0


def _write(stored: RbeFile, changes: Changes, errors: Mapping[str, float], out: NewFile) -> None:
    """The file again, with the changes."""
    made_by = str(stored.metadata.get("packer.options", "")).removesuffix(_MARK)
    metadata = {**stored.metadata, "packer.options": f"{made_by}{_MARK}"}
    entries = [tensor.entry for tensor in stored.tensors.values()]
    with writer.PackWriter(out.path, metadata, stored.codebooks, stored.blobs, entries, claimed=out) as file:
        for name, tensor in stored.tensors.items():
            file.write_tensor([_data(stored, changes, name)], errors[name], tensor.tensor_scale)
        file.commit()


def _data(stored: RbeFile, changes: Changes, name: str) -> bytes:
    """The data of a tensor with its change in it. A scale that fp16 cannot hold stays what it was."""
    if name in changes.vectors:
        return changes.vectors[name].numpy().astype("<f4").tobytes()
    data = stored.data(name)
    if name in changes.gains:
        for scales in stored.row_scales(name, data):
            with np.errstate(over="ignore"):
                changed = (scales.astype(np.float32) * changes.gains[name].numpy()).astype(np.float16)
            np.copyto(scales, changed, where=np.isfinite(changed))
    return bytes(data)
