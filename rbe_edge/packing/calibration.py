"""What the matrices of a model read, and the feedback factors that are made of it (docs/codec.md, "Error feedback").

A Calibration runs the model block by block, from a copy with dense weights, for `rbe compare --projections` and
tools/feedback_loss.py. Each matrix that has been encoded replaces its original in that copy, so that every block is
calibrated on what the encoded blocks before it give. Memory: the statistics of one block. The copy and the hidden
states of the text lie on disk. Sums are those of the C library, in one order whatever the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.hidden_states import HiddenStates
from rbe_edge.packing.schedule import layer_and_part
from rbe_edge.runtime import text_file
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.text_windows import beginning, cut

FloatArray = npt.NDArray[np.float32]
Moment = npt.NDArray[np.float32]

DAMPING = 0.02
"""Added to the diagonal of E[x x^T], relative to its mean (docs/codec.md has the measurement)."""

N_TOKENS = 16384
WINDOW = 256
MIN_TOKENS = 512

_SIDE = 512  # of a block of a large matrix, in Python

POINTS = {
    "attention.q": _native.CAPTURE_QKV, "attention.k": _native.CAPTURE_QKV, "attention.v": _native.CAPTURE_QKV,
    "attention.gate": _native.CAPTURE_QKV,
    "attention.o": _native.CAPTURE_O,
    "convolution.in": _native.CAPTURE_QKV, "convolution.out": _native.CAPTURE_O,
    **{f"recurrence.{part}": _native.CAPTURE_QKV for part in ("q", "k", "v", "gate")},
    "recurrence.o": _native.CAPTURE_O,
    "feed_forward.gate": _native.CAPTURE_UP, "feed_forward.up": _native.CAPTURE_UP,
    "feed_forward.down": _native.CAPTURE_DOWN,
    "shared.gate": _native.CAPTURE_UP, "shared.up": _native.CAPTURE_UP, "shared.down": _native.CAPTURE_DOWN,
    "layer_embedding.gate": _native.CAPTURE_LAYER_GATE, "layer_embedding.projection": _native.CAPTURE_LAYER_OUTPUT,
}  # fmt: skip


def feedback_factor(
    moment: Moment, block: int, seed: int, damping: float = DAMPING, threads: int | None = None
) -> FloatArray:
    """U of inverse(H) = U^T U for H = E[x x^T], rotated and damped: float32 [4 G][4 G], identity where columns do not
    exist. moment: float32 [cols][cols], of which the lower triangle is read; it is used up."""
    cols = len(moment)
    rotate_moment(moment, block, seed)
    mean = float(np.trace(moment, dtype=np.float64)) / cols
    moment[np.diag_indices(cols)] += np.float32(damping * mean if mean > 0 else 1.0)
    if cols % 4:
        padded = np.eye(-(-cols // 4) * 4, dtype=np.float32)
        padded[:cols, :cols] = moment
        moment = padded
    trellis.inverse_factor(moment, threads)
    return moment


def rotate_moment(moment: Moment, block: int, seed: int) -> None:
    """In place: that of rotated x, both triangles, from the lower one of float32 [cols][cols]."""
    cols = len(moment)
    for row in range(0, cols, _SIDE):  # the upper triangle
        moment[row : row + _SIDE, row:] = np.tril(moment[row:, row : row + _SIDE]).T
        corner = moment[row : row + _SIDE, row : row + _SIDE]
        corner += np.triu(corner, 1).T
    trellis.rotate(moment, block, seed)  # rows, then columns
    _transpose(moment)
    trellis.rotate(moment, block, seed)


def _transpose(square: FloatArray) -> None:
    """In place."""
    for row in range(0, len(square), _SIDE):
        for col in range(row, len(square), _SIDE):
            above = square[row : row + _SIDE, col : col + _SIDE].copy()
            below = square[col : col + _SIDE, row : row + _SIDE]
            square[row : row + _SIDE, col : col + _SIDE] = below.T.copy()
            below[:] = above.T


def add_moment(moment: Moment, x: FloatArray, threads: int | None) -> None:
    """moment [cols][cols] += x^T x, the lower triangle, for x float32 [tokens][cols]."""
    sums, read = _native.pointer(moment, ctypes.c_float), _native.pointer(x, ctypes.c_float)
    _native.check(_native.library().rbe_moment_add(read, *x.shape, threads or 0, sums), PackError)


class Calibration:
    """Statistics for one matrix after the other, in the order of the layers. A context manager.

    copy: is changed as matrices are replaced. windows: token sequences, none longer than the model's context.
    """

    def __init__(self, copy: DenseCopy, windows: Sequence[Sequence[int]], threads: int | None = None) -> None:
        self._copy = copy
        self._threads = threads
        self._layer = -1  # whose statistics `_moments` are
        self._moments: dict[int, Moment] = {}
        self._factor: tuple[tuple[int, int, int, int], FloatArray] | None = None  # the last one, and what it is of
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(copy.path, verify=False))
            self._n_layers = model.info.layers
            self._states = stack.enter_context(HiddenStates(model, windows, copy.path.parent, threads))
            self._stack = stack.pop_all()

    def __enter__(self) -> Calibration:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def factor(self, name: str, block: int, seed: int) -> FloatArray | None:
        """The feedback factor of a matrix; None for one whose input is not calibrated. Layers must come in ascending
        order; an lm_head, or an embedding that serves as one, is calibrated with what is packed by then."""
        layer, part = layer_and_part(name)
        if name == self._copy.lm_head:
            layer, point = self._n_layers, _native.CAPTURE_LM_HEAD
            self._moments = self._gathered(layer, {point})
        elif layer is None or part not in POINTS:
            return None
        else:
            point = POINTS[part]
            if layer != self._layer:
                self._advance(layer)
        key = (layer, point, block, seed)
        if self._factor is None or self._factor[0] != key:  # q, k and v share theirs, gate and up too
            self._factor = None
            self._factor = key, feedback_factor(self._moments.pop(point), block, seed, threads=self._threads)
        return self._factor[1]

    def replace(self, name: str, weights: FloatArray) -> None:
        """The matrix as the packed file will have it, float32 [rows][cols], replaces the original from now on.
        Statistics of a layer are those of its original matrices."""
        self._copy.write(name, weights)

    def _advance(self, layer: int) -> None:
        """Runs the hidden states to the input of `layer`, through blocks that are packed by now. Then takes the
        statistics of that layer."""
        assert layer > self._layer
        self._moments, self._factor = {}, None
        self._states.advance(layer)
        self._layer = layer
        self._moments = self._gathered(layer + 1, set(POINTS.values()))

    def _gathered(self, end: int, points: set[int]) -> dict[int, Moment]:
        """E[x x^T] at the points named, lower triangles, over layers from the present one up to `end`, on the hidden
        states as they are."""
        moments: dict[int, Moment] = {}

        def gather(layer: int, point: int, x: FloatArray) -> None:
            if point in points:
                cols = x.shape[1]
                add_moment(moments.setdefault(point, np.zeros((cols, cols), np.float32)), x, self._threads)

        self._states.look(end, gather)
        for moment in moments.values():
            moment /= np.float32(self._states.n_tokens)
        return moments


def read_text(path: Path | None) -> str:
    """A calibration text; None for the one that comes with the package. Raises PackError where it cannot be read."""
    if path is None:
        return (Path(__file__).parent / "calibration.txt").read_text(encoding="utf-8")
    return text_file.read_text(path, "calibration text", PackError)


def check_length(n_tokens: int) -> None:
    """Raises PackError for a calibration text of fewer than MIN_TOKENS tokens."""
    if n_tokens < MIN_TOKENS:
        raise PackError(f"the calibration text has {n_tokens} tokens; give one of at least {MIN_TOKENS}, or none")


def tokens_of(model: Model, text: str | Sequence[int]) -> Sequence[int]:
    """Of a text, without what begins one; tokens stay what they are."""
    return model.tokenize(text, special=False) if isinstance(text, str) else text


def read_windows(model: Path, text: str | Sequence[int], n_tokens: int, window: int) -> list[Sequence[int]]:
    """The first n_tokens of a text, or of its tokens, in windows of at most `window` tokens, or the model's context
    where that is shorter, each begun as the model wants it.

    Raises PackError where the text has fewer than MIN_TOKENS tokens.
    """
    with Model.open(model, verify=False) as opened:
        tokens, begin = tokens_of(opened, text)[:n_tokens], beginning(opened)
        size = min(window, opened.info.context)
    check_length(len(tokens))
    return cut(tokens, size, None, begin)
