"""What the calls of gradients.py take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Gradient:
    """What belongs to one matrix, or to one vector (a norm or a bias). Arrays are float32 and valid during the call.

    Of a matrix: x [n][cols] is what it reads, d [n][rows] the gradient by what it gives; its own gradient is d.T @ x.
    The head comes in parts of its rows, from first_row on; d has the columns of these. gains [rows]: gradient by a
    factor of each row, at 1, where it was asked for. Of a vector: x is None and d [cols] its gradient; of the taps
    of a convolution d is [rows][cols].

    layer: the number of layers for the head. window: tokens of each window but perhaps the last.
    """

    name: str
    layer: int
    rows: int
    cols: int
    first_row: int
    window: int
    x: FloatArray | None
    d: FloatArray
    gains: FloatArray | None

    def weighed(self, rows: FloatArray) -> Gradient:
        """The same of a matrix whose rows are multiplied by numbers [d.shape[1]]; a copy."""
        return replace(self, d=self.d * rows)


@dataclass(frozen=True)
class HeadGradient:
    """labels: uint32 [n], with those that were drawn. nats: float64 [n], -log p(label), 0 where there is no
    label. d_hidden: float32 [n][stream_width], the gradient of their sum behind the last layer."""

    labels: npt.NDArray[np.uint32]
    nats: npt.NDArray[np.float64]
    d_hidden: FloatArray


@dataclass(frozen=True)
class TowardSource:
    """kl: float64 [n], KL(source || model) of each token's prediction in nats. d_hidden: float32 [n][width], the
    gradient of their sum behind the last layer; None where it was not asked for."""

    kl: npt.NDArray[np.float64]
    d_hidden: FloatArray | None


def token_array(tokens: Sequence[int] | npt.NDArray[Any], what: str) -> npt.NDArray[np.uint32]:
    """A copy. Raises OptionError for what are no tokens: NumPy would make 4294967295, which is NONE, of an int64 of -1,
    and 1 of 1.7."""
    import numpy as np

    try:
        found = np.asarray(tokens)
    except ValueError:  # ragged
        found = np.zeros((0, 0))
    whole = found.ndim == 1 and (found.dtype.kind in "iu" or found.size == 0)
    fits = whole and (found.size == 0 or (int(found.min()) >= 0 and int(found.max()) < 2**32))
    require(fits, f"{what} must be whole numbers from 0 on, below 2^32")
    return found.astype(np.uint32)


def _array(pointer: Any, *shape: int) -> FloatArray:
    import numpy as np

    found: FloatArray = np.ctypeslib.as_array(pointer, shape=shape)
    return found


def read(raw: Any) -> Gradient:
    """Of an rbe_gradient."""
    matrix = bool(raw.x)
    of_taps = not matrix and raw.rows > 1
    shape = (raw.n_tokens, raw.n_rows) if matrix else (raw.rows, raw.cols) if of_taps else (raw.cols,)
    return Gradient(
        name=raw.name.decode("utf-8", "replace"),
        layer=raw.layer,
        rows=raw.rows,
        cols=raw.cols,
        first_row=raw.first_row,
        window=raw.window_tokens,
        x=_array(raw.x, raw.n_tokens, raw.cols) if matrix else None,
        d=_array(raw.d, *shape),
        gains=_array(raw.gains, raw.n_rows) if raw.gains else None,
    )


@dataclass(frozen=True)
class Texts:
    """That windows of an answer belong to, one for each window, in their order: of an encoder-decoder's decoder.

    hidden: float32 [n][width], all texts behind the encoder's last norm. d_hidden: the same, to which the gradient by
    these is added; None on the way forward. window: tokens of each text but perhaps the last; 0: one text.
    """

    hidden: FloatArray
    d_hidden: FloatArray | None = None
    window: int = 0
