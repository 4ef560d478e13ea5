"""How much a model suffers from errors in each of its matrices: measured, kept beside the source, used for any size
(docs/codec.md, "Deciding bits per tensor").

One matrix after the other is encoded at one rate as it would be for the file, with feedback, and put into the copy with
dense weights; the C engine runs the text through it from its layer on, and the KL divergence of what it predicts from
what the whole model predicts is taken. Then the original is put back. Divergence is proportional to the squared
error, so one rate tells about all. Memory: one matrix, the predictions for SCORED_BYTES, hidden states of the text.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge._version import __version__
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.files.new_file import write_file
from rbe_edge.packing import storage
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.calibration import DAMPING, WINDOW, Calibration, layer_and_part
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.progress import Progress
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS
from rbe_edge.runtime.session import Session
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]

PROBE = (2,)
"""The planes that are tried: quick to encode, and the error is large enough to be measured on few tokens."""

MOMENT_TOKENS = 16384
"""For the feedback: a quarter of what the encoding itself takes; sensitivities need two digits."""

KL_TOKENS = 3072
"""At most: fewer where the vocabulary is large (SCORED_BYTES)."""

SCORED_BYTES = 256 << 20
"""Of the log-probabilities of the whole model, float32 [tokens][vocabulary], kept while matrices are tried."""

MIN_KL_TOKENS = 256
_PIECE_BYTES = 32 << 20  # of logits at a time
_DIGITS = 4  # what is kept: more would say nothing

SETTINGS = f"{PROBE} {MOMENT_TOKENS} {KL_TOKENS} {SCORED_BYTES} {WINDOW} {DAMPING}"


def coded(tensors: Iterable[TensorPlan]) -> list[TensorPlan]:
    """Those of which there is something to decide, in the order in which they are measured: that of the file."""
    return [
        tensor
        for tensor in tensors
        if tensor.role in storage.CODED_ROLES and storage.in_planes(tensor, PROBE) is not None
    ]


def measure(
    copy: DenseCopy,
    tensors: Sequence[TensorPlan],
    windows: Sequence[Sequence[int]],
    seed_of: Callable[[TensorPlan], int],
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Sensitivity of every tensor that may be coded: nats per token and unit of relative squared error, as it is on
    a Gaussian. windows: calibration text; its last part is scored. progress: is told what is being measured; it
    keeps its count. The copy is as before when this returns, not when it raises.
    """
    progress = progress or Progress()
    found: dict[str, float] = {}
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(copy.path, verify=False))
        scored, rest = _split(windows, model.info.vocabulary)
        calibration = stack.enter_context(
            Calibration(copy, rest, threads, progress=progress, what="measuring sensitivity")
        )
        probe = stack.enter_context(_Probe(model, copy, scored, threads))
        wanted = coded(tensors)
        for number, tensor in enumerate(wanted):
            what = f"measuring sensitivity, {number + 1} of {len(wanted)}"
            progress.tell(what)
            values, seed = tensor.read(), seed_of(tensor)
            factor = calibration.factor(tensor.name, trellis.rotation_block(tensor.cols), seed)
            encoded = trellis.encode(values, PROBE, seed, threads, progress.share(what, 0), factor)
            decoded = trellis.decode(
                b"".join(encoded.data), PROBE, tensor.rows, tensor.cols, seed, encoded.tensor_scale
            )
            layer, _ = layer_and_part(tensor.name)
            probe.advance(layer)
            copy.write(tensor.name, decoded)
            kl = probe.divergence(from_tokens=layer is None)
            copy.write(tensor.name, values)
            found[tensor.name] = float(f"{max(kl, 0.0) / GAUSSIAN_ERROR[PROBE]:.{_DIGITS}g}")
    return found


def _split(windows: Sequence[Sequence[int]], vocabulary: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """What is scored, from the end of the text, and what the statistics are of. They are apart where the text is long
    enough."""
    n_scored = max(min(KL_TOKENS, SCORED_BYTES // (4 * vocabulary)), MIN_KL_TOKENS)
    scored: list[Sequence[int]] = []
    n = 0
    for window in reversed(windows):
        if n >= n_scored:
            break
        scored.append(window[: n_scored - n])
        n += len(scored[-1])
    rest = list(windows[: len(windows) - len(scored)]) or list(windows)
    return scored, rest


class _Probe:
    """Predictions of the model as the copy has it now, against those it began with. A context manager."""

    def __init__(self, model: Model, copy: DenseCopy, windows: Sequence[Sequence[int]], threads: int | None) -> None:
        self._windows = windows
        self._threads = threads
        self._layer = 0
        self._n_layers = model.info.layers
        softcap = model.metadata.get("logit.softcap")
        self._softcap = float(softcap) if isinstance(softcap, int | float) else None
        offset, _ = copy.areas[copy.lm_head]
        shape = (model.info.vocabulary, model.info.width)
        self._head = np.memmap(copy.path, "<f4", "r", offset, shape)
        self._session: Session = model.session(
            context=max(map(len, windows)), threads=threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
        )
        try:
            self._hidden = self._embedded()
            self._expected = [self._log_softmax(x) for x in self._last(self._hidden)]
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> _Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _embedded(self) -> list[FloatArray]:
        return [self._session.embed(window) for window in self._windows]

    def advance(self, layer: int | None) -> None:
        """Runs the text up to the input of a layer, so that the layers before it are run once."""
        if layer is None or layer == self._layer:
            return
        assert layer > self._layer
        for hidden in self._hidden:
            self._session.run_layers(self._layer, layer - self._layer, hidden)
        self._layer = layer

    def divergence(self, from_tokens: bool) -> float:
        """Nats per token. from_tokens: the embedding may have changed; else only layers from the present one on."""
        first, hidden = (0, self._embedded()) if from_tokens else (self._layer, self._hidden)
        total, n = 0.0, 0
        for expected, x in zip(self._expected, self._last(hidden, first), strict=True):
            rows = max(_PIECE_BYTES // (4 * expected.shape[1]), 1)
            for start in range(0, len(x), rows):
                total += self._kl(expected[start : start + rows], self._log_softmax(x[start : start + rows]))
            n += len(x)
        return total / n

    def _last(self, hidden: Sequence[FloatArray], first: int = 0) -> Iterable[FloatArray]:
        """What the lm_head reads, window by window."""
        for states in hidden:
            parts: list[FloatArray] = []

            def keep(layer: int, point: int, x: FloatArray, parts: list[FloatArray] = parts) -> None:
                if point == _native.CAPTURE_LM_HEAD:
                    parts.append(x.copy())

            self._session.run_layers(first, self._n_layers - first, states.copy(), keep)
            yield np.concatenate(parts)

    def _log_softmax(self, x: FloatArray) -> FloatArray:
        """Log-probabilities float32 [n][vocabulary] of the lm_head's inputs x."""
        x = np.ascontiguousarray(x)
        vocabulary, width = self._head.shape
        out = np.empty((len(x), vocabulary), np.float32)
        head, states, to = (_native.pointer(array, ctypes.c_float) for array in (self._head, x, out))
        call = _native.library().rbe_log_probabilities
        status = call(head, vocabulary, width, states, len(x), self._softcap or 0.0, self._threads or 0, to)
        _native.check(status, PackError)
        return out

    def _kl(self, expected: FloatArray, given: FloatArray) -> float:
        """The sum over tokens, in nats."""
        nats = np.empty(len(expected))
        first, second = (_native.pointer(array, ctypes.c_float) for array in (expected, given))
        call = _native.library().rbe_divergence
        status = call(first, second, *expected.shape, self._threads or 0, _native.pointer(nats, ctypes.c_double))
        _native.check(status, PackError)
        return math.fsum(nats)


# ---- kept for the next size ----


def known(
    paths: Sequence[Path],
    copy: DenseCopy,
    tensors: Sequence[TensorPlan],
    windows: Sequence[Sequence[int]],
    seed_of: Callable[[TensorPlan], int],
    threads: int | None,
    progress: Progress,
) -> dict[str, float]:
    """As it was kept at one of the paths, or measured and kept there."""
    found = load(paths, tensors)
    if found is None:
        found = measure(copy, tensors, windows, seed_of, threads, progress)
        save(paths, found)
    return found


def cache_paths(source: Path, source_sha256: str, text: str) -> list[Path]:
    """Where a measurement is kept: beside the source, or else in the user's cache."""
    settings = f"{__version__} {SETTINGS} {source_sha256} {hashlib.sha256(text.encode()).hexdigest()} {_tables()}"
    name = f"rbe-sensitivity-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = source if source.is_dir() else source.parent
    return [directory / f".{name}", cache / "rbe-edge" / name]


def _tables() -> str:
    return " ".join(repr(trellis.CODEBOOKS[bits]) for bits in PROBE)


def load(paths: Iterable[Path], tensors: Iterable[TensorPlan]) -> dict[str, float] | None:
    """A measurement that was kept, of all these tensors; None where there is none that is whole."""
    names = [tensor.name for tensor in coded(tensors)]
    for path in paths:
        try:
            if not path.is_file():  # a pipe would never end
                continue
            values = json.loads(path.read_text(encoding="utf-8"))["sensitivity"]
            found = {name: float(values[name]) for name in names}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if all(np.isfinite(value) and value >= 0 for value in found.values()):
            return found
    return None


def save(paths: Iterable[Path], values: Mapping[str, float]) -> Path | None:
    """Keeps a measurement at the first place that can be written, whole or not at all; None where none can be."""
    content = json.dumps({"unit": "nats per token and relative squared error", "sensitivity": values}, indent=1)
    for path in paths:
        with suppress(OSError, PackError):
            if not path.name.startswith("."):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content.encode(), PackError, replace=True)
            return path
    return None
