"""Gradients of a model with matrices in fp32, layer by layer (docs/gradients.md).

with model.gradients(tokens=256) as gradients:
    head = gradients.head(states[-1], labels, show=show)
    for layer in reversed(range(model.info.layers)):
        gradients.layer(layer, states[layer], head.d_hidden, show)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import OptionError
from rbe_edge.runtime.native_owner import NativeOwner
from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_model import EngineModel

    FloatArray = npt.NDArray[np.float32]

DRAW = _native.DRAW_TOKEN
"""A label that is drawn from the model's own prediction."""

NONE = _native.NO_TOKEN
"""No label: the token has no loss."""


@dataclass(frozen=True)
class Gradient:
    """What belongs to one matrix, or to one vector (a norm or a bias). Arrays are float32 and valid during the call.

    Of a matrix: x [n][cols] is what it reads, d [n][rows] the gradient by what it gives; its own gradient is d.T @ x.
    The head comes in parts of its rows, from first_row on; d has the columns of these. gains [rows]: gradient by a
    factor of each row, at 1, where it was asked for. Of a vector: x is None and d [cols] its gradient.

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
    label. d_hidden: float32 [n][width], the gradient of their sum behind the last layer."""

    labels: npt.NDArray[np.uint32]
    nats: npt.NDArray[np.float64]
    d_hidden: FloatArray


@dataclass(frozen=True)
class TowardSource:
    """kl: float64 [n], KL(source || model) of each token's prediction in nats. d_hidden: float32 [n][width], the
    gradient of their sum behind the last layer; None where it was not asked for."""

    kl: npt.NDArray[np.float64]
    d_hidden: FloatArray | None


def _array(pointer: Any, *shape: int) -> FloatArray:
    import numpy as np

    found: FloatArray = np.ctypeslib.as_array(pointer, shape=shape)
    return found


def _read(raw: Any) -> Gradient:
    matrix = bool(raw.x)
    return Gradient(
        name=raw.name.decode("utf-8", "replace"),
        layer=raw.layer,
        rows=raw.rows,
        cols=raw.cols,
        first_row=raw.first_row,
        window=raw.window_tokens,
        x=_array(raw.x, raw.n_tokens, raw.cols) if matrix else None,
        d=_array(raw.d, raw.n_tokens, raw.n_rows) if matrix else _array(raw.d, raw.cols),
        gains=_array(raw.gains, raw.n_rows) if raw.gains else None,
    )


def _tokens(tokens: Sequence[int] | npt.NDArray[np.uint32], what: str) -> npt.NDArray[np.uint32]:
    import numpy as np

    try:
        return np.array(tokens, dtype=np.uint32)
    except (OverflowError, TypeError, ValueError):
        raise OptionError(f"{what} must be whole numbers from 0 on") from None


class Gradients(NativeOwner):
    """Made by model.gradients(). One thread at a time; any thread may cancel.

    All sums have a fixed order: the bits depend neither on the number of threads nor on the processor. A call takes
    windows of `window` tokens (0: one of all), each a text of its own; the loss is the sum over all tokens.
    """

    def __init__(self, model: EngineModel, tokens: int, context: int, threads: int, gains: bool) -> None:
        """Use model.gradients()."""
        self._inside: Any = None  # the handle, while a callback may use it
        require(0 <= tokens <= 65536, f"tokens must be from 1 to 65536, or 0 for 512, not {tokens}")
        require(0 <= context < 2**32, f"context must be a number of tokens, or 0, not {context}")
        require(0 <= threads <= 64, f"threads must be from 1 to 64, or 0 for all cores, not {threads}")
        raw = _native.GradientsOptions(
            struct_bytes=ctypes.sizeof(_native.GradientsOptions),
            most_tokens=tokens,
            context_tokens=context,
            n_threads=threads,
            gains=gains,
        )
        handle = ctypes.POINTER(_native.GradientsHandle)()
        status = _native.library().rbe_gradients_create(model.handle, ctypes.byref(raw), ctypes.byref(handle))
        _native.check(status, OptionError)
        self._width = model.info.width
        self.own(model, handle, "gradients")

    @contextmanager
    def _use(self) -> Iterator[Any]:
        with self.use() as handle:
            self._inside = handle
            try:
                yield handle
            finally:
                self._inside = None

    def _states(self, hidden: FloatArray, what: str = "hidden") -> Any:
        require(
            hidden.ndim == 2 and hidden.shape[1] == self._width,
            f"{what} must be [n][{self._width}], not {hidden.shape}",
        )
        return _native.pointer(hidden, ctypes.c_float)

    def head(
        self,
        hidden: FloatArray,
        labels: Sequence[int] | npt.NDArray[np.uint32] | None = None,
        *,
        window: int = 0,
        seed: int = 0,
        show: Callable[[Gradient], object] | None = None,
    ) -> HeadGradient:
        """From hidden states behind the last layer, float32 [n][width]. labels: the token that should follow each, DRAW
        or NONE; None draws all of them. Label i is drawn by draw i of `seed`. show: is shown the head and the last
        norm. Raises OptionError for what does not fit, Cancelled."""
        import numpy as np

        n = len(hidden)
        given = np.full(n, DRAW, np.uint32) if labels is None else _tokens(labels, "labels")
        require(given.shape == (n,), f"{n} hidden states need as many labels, not {given.shape}")
        require(0 <= seed < 2**64, f"seed must be from 0 to 2^64 - 1, not {seed}")
        found = HeadGradient(given, np.zeros(n), np.zeros((n, self._width), np.float32))
        carrier = _native.GradientShow(lambda raw: show(_read(raw))) if show is not None else None
        with self._use() as handle:
            status = _native.call(
                _native.library().rbe_gradients_head,
                handle,
                self._states(hidden),
                n,
                window,
                _native.pointer(found.labels, ctypes.c_uint32),
                seed,
                _native.pointer(found.nats, ctypes.c_double),
                _native.pointer(found.d_hidden, ctypes.c_float),
                carrier.callback if carrier is not None else _native.GradientCallback(),
                None,
            )
            (carrier.check if carrier is not None else _native.check)(status, OptionError)
        return found

    def head_toward(
        self,
        hidden: FloatArray,
        source: EngineModel,
        source_hidden: FloatArray,
        *,
        window: int = 0,
        gradient: bool = True,
        show: Callable[[Gradient], object] | None = None,
    ) -> TowardSource:
        """head() with what a source predicts in place of labels, over the whole vocabulary. source_hidden: its states
        behind its last layer, float32 [n][its width]; its lm_head is fp32. gradient: False for the divergence alone,
        at two thirds of the cost; nothing is shown then. Raises OptionError for what does not fit, Cancelled."""
        import numpy as np

        n, width = len(hidden), source.info.width
        require(
            source_hidden.shape == (n, width),
            f"{n} hidden states need those of the source, [{n}][{width}], not {source_hidden.shape}",
        )
        d_hidden = np.zeros((n, self._width), np.float32) if gradient else None
        found = TowardSource(np.zeros(n), d_hidden)
        carrier = _native.GradientShow(lambda raw: show(_read(raw))) if show is not None else None
        with self._use() as handle:
            status = _native.call(
                _native.library().rbe_gradients_head_toward,
                handle,
                self._states(hidden),
                source.handle,
                _native.pointer(source_hidden, ctypes.c_float),
                n,
                window,
                _native.pointer(found.kl, ctypes.c_double),
                _native.pointer(d_hidden, ctypes.c_float) if d_hidden is not None else None,
                carrier.callback if carrier is not None else _native.GradientCallback(),
                None,
            )
            (carrier.check if carrier is not None else _native.check)(status, OptionError)
        return found

    def layer(
        self,
        layer: int,
        hidden: FloatArray,
        d_hidden: FloatArray,
        show: Callable[[Gradient], object] | None = None,
        *,
        window: int = 0,
    ) -> None:
        """hidden: states before the layer, float32 [n][width]. d_hidden, the gradient behind it, becomes that before
        it. show: is shown all that the layer learns. Raises OptionError for what does not fit; Cancelled: d_hidden is
        then of no use."""
        require(len(hidden) == len(d_hidden), f"{len(hidden)} hidden states have {len(d_hidden)} gradients")
        require(0 <= layer < 2**32, f"layers are whole numbers from 0 on, not {layer}")
        carrier = _native.GradientShow(lambda raw: show(_read(raw))) if show is not None else None
        with self._use() as handle:
            status = _native.call(
                _native.library().rbe_gradients_layer,
                handle,
                layer,
                self._states(hidden),
                len(hidden),
                window,
                self._states(d_hidden, "d_hidden"),
                carrier.callback if carrier is not None else _native.GradientCallback(),
                None,
            )
            (carrier.check if carrier is not None else _native.check)(status, OptionError)

    def embedding(
        self,
        tokens: Sequence[int],
        d_hidden: FloatArray,
        embedding: FloatArray | None,
        positions: FloatArray | None = None,
        *,
        window: int = 0,
    ) -> None:
        """Adds the gradient of what the tokens looked up to embedding [vocabulary][width] and positions
        [context][width]. Raises OptionError for what does not fit."""
        require(len(tokens) == len(d_hidden), f"{len(tokens)} tokens have {len(d_hidden)} gradients")
        array = _tokens(tokens, "tokens")
        for table, rows in (embedding, self.model.info.vocabulary), (positions, self.model.info.context):
            shape = None if table is None else table.shape
            require(shape in (None, (rows, self._width)), f"a table must be [{rows}][{self._width}], not {shape}")
        with self._use() as handle:
            status = _native.library().rbe_gradients_embedding(
                handle,
                _native.pointer(array, ctypes.c_uint32),
                len(array),
                window,
                self._states(d_hidden, "d_hidden"),
                _native.pointer(embedding, ctypes.c_float) if embedding is not None else None,
                _native.pointer(positions, ctypes.c_float) if positions is not None else None,
            )
            _native.check(status, OptionError)

    def add_curvature(self, gradient: Gradient, total: FloatArray, first: int = 0, n_rows: int | None = None) -> None:
        """total[cols][cols] += the sum over windows of G^T G of a matrix that is being shown, in its lower triangle;
        what stands above it means nothing. G is the gradient of a window by the rows of this part from `first` on.
        Raises OptionError outside `show` and for what does not fit."""
        require(self._inside is not None, "gradients are added while they are shown; later they are gone")
        require(gradient.x is not None, f"{gradient.name} is no matrix")
        assert gradient.x is not None
        n, known = gradient.d.shape
        count = known - first if n_rows is None else n_rows
        require(0 <= first and 0 < count <= known - first, f"{gradient.name}: there are {known} rows")
        cols = gradient.cols
        require(total.shape == (cols, cols), f"{gradient.name} has {cols} columns, not {total.shape}")
        raw = _native.CurvatureRows(
            struct_bytes=ctypes.sizeof(_native.CurvatureRows),
            x=_native.pointer(gradient.x, ctypes.c_float),
            d=ctypes.cast(gradient.d.ctypes.data + 4 * first, ctypes.POINTER(ctypes.c_float)),
            d_stride=known,
            n_tokens=n,
            window_tokens=gradient.window,
            n_rows=count,
            cols=cols,
        )
        add = _native.library().rbe_gradients_add_curvature
        _native.check(add(self._inside, ctypes.byref(raw), _native.pointer(total, ctypes.c_float)), OptionError)

    def add(self, gradient: Gradient, total: FloatArray, window: int | None = None) -> None:
        """total[rows][cols] += d.T @ x of a matrix that is being shown; of a part of its rows, to these. window: of the
        tokens of that window alone, counted from 0; None: of all. A vector is added as it is. In a fixed order, on all
        threads. Raises OptionError outside `show` and for what does not fit."""
        require(self._inside is not None, "gradients are added while they are shown; later they are gone")
        require(
            total.shape == (gradient.rows, gradient.cols),
            f"{gradient.name} is [{gradient.rows}][{gradient.cols}], not {total.shape}",
        )
        if gradient.x is None:
            total += gradient.d
            return
        n = len(gradient.d)
        tokens = slice(0, n) if window is None else slice(window * gradient.window, (window + 1) * gradient.window)
        require(0 <= tokens.start < n, f"there are {-(-n // gradient.window)} windows, and none is {window}")
        to = total[gradient.first_row : gradient.first_row + gradient.d.shape[1]]
        x, d, out = (_native.pointer(array, ctypes.c_float) for array in (gradient.x[tokens], gradient.d[tokens], to))
        status = _native.library().rbe_gradients_add(
            self._inside, x, d, min(tokens.stop, n) - tokens.start, len(to), gradient.cols, out
        )
        _native.check(status, OptionError)
