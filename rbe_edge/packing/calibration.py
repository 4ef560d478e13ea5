"""Calibration: what the matrices of a model read, so that the encoder knows which errors count (docs/codec.md, "Error
feedback").

The C engine runs the model block by block on calibration text, from a copy with dense weights. Each matrix that has
been encoded replaces its original in that copy, so that every block is calibrated on what the packed blocks before it
give. Memory: the hidden states of the text and the statistics of one block; the copy lies on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.errors import PackError
from rbe_edge.packing import codec
from rbe_edge.runtime.model import Model

FloatArray = npt.NDArray[np.float32]
Moment = npt.NDArray[np.float64]

DAMPING = 0.1
"""Added to the diagonal of E[x x^T], relative to its mean (docs/codec.md has the measurement)."""

N_TOKENS = 65536
WINDOW = 512
MAX_BATCH = 512  # the engine's: few, large products
MIN_TOKENS = 512

_POINTS = {
    "attention.q": _native.CAPTURE_QKV, "attention.k": _native.CAPTURE_QKV, "attention.v": _native.CAPTURE_QKV,
    "attention.o": _native.CAPTURE_O,
    "feed_forward.gate": _native.CAPTURE_UP, "feed_forward.up": _native.CAPTURE_UP,
    "feed_forward.down": _native.CAPTURE_DOWN,
}  # fmt: skip


def feedback_factor(moment: Moment, block: int, seed: int, damping: float = DAMPING) -> FloatArray:
    """U of inverse(H) = U^T U for H = E[x x^T], rotated and damped: float32 [4 G][4 G], identity where columns do not
    exist."""
    rotated = moment.astype(np.float32)
    for _ in range(2):  # rows, then columns
        codec.rotate(rotated, block, seed)
        rotated = np.ascontiguousarray(rotated.T)
    h = (rotated + rotated.T).astype(np.float64) / 2
    cols = len(h)
    mean = np.trace(h) / cols
    h[np.diag_indices(cols)] += damping * mean if mean > 0 else 1.0
    padded = np.eye(-(-cols // 4) * 4, dtype=np.float32)
    padded[:cols, :cols] = np.linalg.cholesky(np.linalg.inv(h)).T
    return padded


class Calibration:
    """Statistics for one matrix after the other, in the order of the layers. A context manager.

    dense: a .rbe file with all tensors in fp32, which is changed as matrices are replaced; areas: offset and bytes of
    each tensor's data in it. windows: token sequences, none longer than the model's context.
    """

    def __init__(
        self,
        dense: Path,
        areas: Mapping[str, tuple[int, int]],
        windows: Sequence[Sequence[int]],
        threads: int | None = None,
        damping: float = DAMPING,
    ) -> None:
        self._areas = areas
        self._damping = damping
        self._layer = -1  # whose statistics `_moments` are
        self._moments: dict[int, Moment] = {}
        with ExitStack() as stack:
            self._file = stack.enter_context(dense.open("r+b", buffering=0))
            model = stack.enter_context(Model.open(dense, verify=False))
            self._session = stack.enter_context(
                model.session(context=max(map(len, windows)), threads=threads or 0, batch=MAX_BATCH, kv="f32")
            )
            self._n_layers = model.info.layers
            self._hidden = [self._session.embed(window) for window in windows]
            self._n_tokens = sum(map(len, windows))
            self._stack = stack.pop_all()

    def __enter__(self) -> Calibration:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def factor(self, name: str, block: int, seed: int) -> FloatArray | None:
        """The feedback factor of a matrix; None for one whose input is not calibrated. Layers must come in ascending
        order; a head, or an embedding that serves as one, is calibrated with what is packed by then."""
        layer, part = _layer_and_part(name)
        if name == ("head" if "head" in self._areas else "embedding"):
            moments = self._run(max(self._layer, 0), self._n_layers, {_native.CAPTURE_HEAD})
            return feedback_factor(moments[_native.CAPTURE_HEAD], block, seed, self._damping)
        if layer is None or part not in _POINTS:
            return None
        if layer != self._layer:
            self._advance(layer)
        return feedback_factor(self._moments[_POINTS[part]], block, seed, self._damping)

    def replace(self, name: str, weights: FloatArray) -> None:
        """The matrix as the packed file will have it, float32 [rows][cols], stands in for the original from now on."""
        offset, n_bytes = self._areas[name]
        data = np.ascontiguousarray(weights, dtype="<f4").tobytes()
        assert len(data) == n_bytes, name
        written = 0
        while written < n_bytes:  # the engine maps the same pages
            self._file.seek(offset + written)
            written += self._file.write(data[written:])

    def _advance(self, layer: int) -> None:
        """Hidden states to the input of `layer`, through blocks that are packed by now; then its statistics."""
        assert layer > self._layer
        for hidden in self._hidden:
            self._session.run_layers(max(self._layer, 0), layer - max(self._layer, 0), hidden)
        self._layer = layer
        self._moments = self._run(layer, layer + 1, set(_POINTS.values()))

    def _run(self, first: int, end: int, points: set[int]) -> dict[int, Moment]:
        """E[x x^T] at the points named, over layers from first up to end, on the hidden states as they are."""
        moments: dict[int, Moment] = {}

        def gather(layer: int, point: int, x: FloatArray) -> None:
            if point in points:
                moment = moments.setdefault(point, np.zeros((x.shape[1], x.shape[1])))
                moment += x.T @ x

        for hidden in self._hidden:
            self._session.run_layers(first, end - first, hidden.copy(), gather)
        for moment in moments.values():
            moment /= self._n_tokens
        return moments


def read_text(path: Path | None) -> str:
    """A calibration text; None for the one that comes with the package. Raises PackError where it cannot be read."""
    if path is None:
        return (Path(__file__).parent / "calibration.txt").read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PackError(f"{path}: no UTF-8 text; give another calibration text") from None
    except OSError as error:
        raise PackError(f"{path}: cannot be read ({error.strerror}); give a calibration text") from None


def read_windows(model: Path, text: str, n_tokens: int, window: int) -> list[list[int]]:
    """The first n_tokens of a text in windows of at most `window` tokens, or the model's context where that is shorter.

    Raises PackError where the text has fewer than MIN_TOKENS tokens.
    """
    with Model.open(model, verify=False) as opened:
        tokens = opened.tokenize(text, special=False)[:n_tokens]
        size = min(window, opened.info.context)
    if len(tokens) < MIN_TOKENS:
        raise PackError(f"the calibration text has {len(tokens)} tokens; give one of at least {MIN_TOKENS}, or none")
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


def _layer_and_part(name: str) -> tuple[int | None, str]:
    """'layers.3.attention.q' -> (3, 'attention.q')."""
    parts = name.split(".", 2)
    if len(parts) == 3 and parts[0] == "layers" and parts[1].isdigit():
        return int(parts[1]), parts[2]
    return None, name
