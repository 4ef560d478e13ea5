"""Gradients of a model with matrices in fp32, layer by layer (docs/gradients.md).

with model.gradients(tokens=256) as gradients:
    head = gradients.head(states[-1], labels, show=show)
    for layer in reversed(range(model.info.layers)):
        gradients.layer(layer, states[layer], head.d_hidden, show)

Of an encoder-decoder the decoder's layers are given the texts; the encoder has gradients of its own, with encoder=True.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import OptionError
from rbe_edge.runtime.gradient_values import Gradient, HeadGradient, Texts, TowardSource, read, token_array
from rbe_edge.runtime.native_owner import NativeOwner
from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_model import EngineModel

    FloatArray = npt.NDArray[np.float32]

__all__ = ["DRAW", "NONE", "Gradient", "Gradients", "HeadGradient", "TowardSource"]

DRAW = _native.DRAW_TOKEN
"""A label that is drawn from the model's own prediction."""

NONE = _native.NO_TOKEN
"""No label: the token has no loss."""


def _window(tokens: int) -> int:
    require(0 <= tokens < 2**32, f"window must be a number of tokens, or 0 for one of all, not {tokens}")
    return tokens


class Gradients(NativeOwner):
    """Made by model.gradients(). One thread at a time; any thread may cancel.

    All sums have a fixed order: the bits depend neither on the number of threads nor on the processor. A call takes
    windows of `window` tokens (0: one of all), each a text of its own; the loss is the sum over all tokens.
    """

    def __init__(self, model: EngineModel, tokens: int, context: int, threads: int, gains: bool, encoder: bool) -> None:
        """Use model.gradients()."""
        self._shown_by: tuple[Any, int] | None = None  # the handle and the thread, while something is shown
        require(0 <= tokens <= 65536, f"tokens must be from 1 to 65536, or 0 for 512, not {tokens}")
        require(0 <= context < 2**32, f"context must be a number of tokens, or 0, not {context}")
        require(0 <= threads <= 64, f"threads must be from 1 to 64, or 0 for all cores, not {threads}")
        raw = _native.GradientsOptions(
            struct_bytes=ctypes.sizeof(_native.GradientsOptions),
            most_tokens=tokens,
            context_tokens=context,
            n_threads=threads,
            gains=gains,
            encoder=encoder,
        )
        handle = ctypes.POINTER(_native.GradientsHandle)()
        status = _native.library().rbe_gradients_create(model.handle, ctypes.byref(raw), ctypes.byref(handle))
        _native.check(status, OptionError)
        self._width, self._row = model.info.width, model.stream_width
        self.own(model, handle, "gradients")

    def _call(
        self,
        function: str,
        *arguments: object,
        show: Callable[[Gradient], object] | None,
        source: EngineModel | None = None,
    ) -> None:
        """Calls a function of the library that shows gradients; Ctrl-C ends it. source: another model that it reads."""
        with self.run() as handle, self.keeping(source):
            carrier = _native.GradientShow(self._shown(handle, show) if show is not None else None)
            native = getattr(_native.library(), f"rbe_gradients_{function}")
            status = _native.call(native, handle, *arguments, carrier.callback, None)
            carrier.check(status, OptionError)

    def _shown(self, handle: Any, show: Callable[[Gradient], object]) -> Callable[[Any], None]:
        def shown(raw: Any) -> None:
            self._shown_by = handle, threading.get_ident()
            try:
                show(read(raw))
            finally:
                self._shown_by = None

        return shown

    def _inside(self) -> Any:
        """The handle, on the thread that something is being shown to."""
        handle, thread = self._shown_by or (None, None)
        require(
            thread == threading.get_ident(),
            "gradients are added while they are shown, on that thread; later they are gone",
        )
        return handle

    def _states(self, hidden: FloatArray, what: str = "hidden", *, writable: bool = False) -> Any:
        require(
            hidden.ndim == 2 and hidden.shape[1] == self._row,
            f"{what} must be [n][{self._row}], not {hidden.shape}",
        )
        return _native.pointer(hidden, ctypes.c_float, writable=writable)

    def _texts(self, texts: Texts | None) -> Any:
        """A pointer to an rbe_gradients_text; None for none."""
        if texts is None:
            return None
        d_hidden = None if texts.d_hidden is None else self._states(texts.d_hidden, "d_hidden", writable=True)
        require(
            texts.d_hidden is None or texts.d_hidden.shape == texts.hidden.shape,
            "the hidden states of texts have as many gradients",
        )
        raw = _native.GradientsText(
            struct_bytes=ctypes.sizeof(_native.GradientsText),
            hidden=self._states(texts.hidden),
            d_hidden=d_hidden,
            n_tokens=len(texts.hidden),
            window_tokens=_window(texts.window),
        )
        return ctypes.pointer(raw)

    def _narrow(self, hidden: FloatArray) -> FloatArray:
        """What stands in rows before what later layers need."""
        import numpy as np

        self._states(hidden)
        return np.ascontiguousarray(hidden[:, : self._width])

    def _wide(self, d_hidden: FloatArray) -> FloatArray:
        import numpy as np

        return np.pad(d_hidden, ((0, 0), (0, self._row - self._width)))

    def head(
        self,
        hidden: FloatArray,
        labels: Sequence[int] | npt.NDArray[np.uint32] | None = None,
        *,
        window: int = 0,
        seed: int = 0,
        show: Callable[[Gradient], object] | None = None,
    ) -> HeadGradient:
        """From hidden states behind the last layer, float32 [n][stream_width]. labels: the token that should follow
        each, DRAW or NONE; None draws all of them. Label i is drawn by draw i of `seed`. show: is shown the head and
        the last norm. Raises OptionError for what does not fit, Cancelled."""
        import numpy as np

        n = len(hidden)
        given = np.full(n, DRAW, np.uint32) if labels is None else token_array(labels, "labels")
        require(given.shape == (n,), f"{n} hidden states need as many labels, not {given.shape}")
        require(0 <= seed < 2**64, f"seed must be from 0 to 2^64 - 1, not {seed}")
        found = HeadGradient(given, np.zeros(n), np.zeros((n, self._width), np.float32))
        self._call(
            "head",
            _native.pointer(self._narrow(hidden), ctypes.c_float),
            n,
            _window(window),
            _native.pointer(found.labels, ctypes.c_uint32, writable=True),
            seed,
            _native.pointer(found.nats, ctypes.c_double, writable=True),
            _native.pointer(found.d_hidden, ctypes.c_float, writable=True),
            show=show,
        )
        return replace(found, d_hidden=self._wide(found.d_hidden))

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
        behind its last layer, float32 [n][its stream_width]; its lm_head is fp32. gradient: False for the divergence
        alone, at two thirds of the cost; nothing is shown then. Where another thread closes the source meanwhile, this
        call is cancelled, and these gradients are closed too. Raises OptionError for what does not fit, Cancelled."""
        import numpy as np

        n, width = len(hidden), source.stream_width
        require(
            source_hidden.shape == (n, width),
            f"{n} hidden states need those of the source, [{n}][{width}], not {source_hidden.shape}",
        )
        d_hidden = np.zeros((n, self._width), np.float32) if gradient else None
        found = TowardSource(np.zeros(n), d_hidden)
        self._call(
            "head_toward",
            _native.pointer(self._narrow(hidden), ctypes.c_float),
            source.handle,
            _native.pointer(np.ascontiguousarray(source_hidden[:, : source.info.width]), ctypes.c_float),
            n,
            _window(window),
            _native.pointer(found.kl, ctypes.c_double, writable=True),
            _native.pointer(d_hidden, ctypes.c_float, writable=True) if d_hidden is not None else None,
            show=show,
            source=source,
        )
        return found if d_hidden is None else replace(found, d_hidden=self._wide(d_hidden))

    def layer(
        self,
        layer: int,
        hidden: FloatArray,
        d_hidden: FloatArray,
        show: Callable[[Gradient], object] | None = None,
        *,
        window: int = 0,
        texts: Texts | None = None,
    ) -> None:
        """hidden: states before the layer, float32 [n][stream_width]. d_hidden, the gradient behind it, becomes that
        before it. show: is shown all that the layer learns. texts: that a decoder answers to. Raises OptionError for
        what does not fit; Cancelled: d_hidden is then of no use."""
        require(len(hidden) == len(d_hidden), f"{len(hidden)} hidden states have {len(d_hidden)} gradients")
        require(0 <= layer < 2**32, f"layers are whole numbers from 0 on, not {layer}")
        self._call(
            "cross_layer",
            layer,
            self._states(hidden),
            len(hidden),
            _window(window),
            self._texts(texts),
            self._states(d_hidden, "d_hidden", writable=True),
            show=show,
        )

    def forward(self, layer: int, hidden: FloatArray, *, window: int = 0, texts: Texts | None = None) -> None:
        """hidden, float32 [n][width] before the layer, becomes what is behind it; with the number of layers, what is
        behind the last norm. Raises OptionError for what does not fit; Cancelled: hidden is then of no use."""
        require(0 <= layer < 2**32, f"layers are whole numbers from 0 on, not {layer}")
        with self.run() as handle:
            status = _native.call(
                _native.library().rbe_gradients_forward,
                handle,
                layer,
                self._states(hidden, writable=True),
                len(hidden),
                _window(window),
                self._texts(texts),
            )
            _native.check(status, OptionError)

    def norm(
        self,
        hidden: FloatArray,
        d_hidden: FloatArray,
        show: Callable[[Gradient], object] | None = None,
        *,
        window: int = 0,
    ) -> None:
        """From the gradient behind the last norm, d_hidden, float32 [n][stream_width], to that before it, in its place;
        none is changed where the model has no last norm. hidden: states behind the last layer. For what is made of
        hidden states without a head of words. Raises OptionError for what does not fit, Cancelled."""
        require(len(hidden) == len(d_hidden), f"{len(hidden)} hidden states have {len(d_hidden)} gradients")
        self._states(d_hidden, "d_hidden", writable=True)
        narrow = self._narrow(d_hidden)
        self._call(
            "norm",
            _native.pointer(self._narrow(hidden), ctypes.c_float),
            len(hidden),
            _window(window),
            _native.pointer(narrow, ctypes.c_float, writable=True),
            show=show,
        )
        d_hidden[:, : self._width] = narrow

    def layer_embeddings(
        self,
        tokens: Sequence[int],
        d_hidden: FloatArray,
        table: FloatArray | None = None,
        show: Callable[[Gradient], object] | None = None,
        *,
        window: int = 0,
    ) -> None:
        """From the gradient before the first layer, d_hidden, float32 [n][stream_width], to that by the embedding
        alone, in its place, for embedding(). show: is shown what makes layer inputs of it. table [vocabulary][layers x
        width]: the gradient by what the tokens looked up for the layers is added. Raises OptionError for what does not
        fit, and of a model without layer embeddings; Cancelled."""
        require(len(tokens) == len(d_hidden), f"{len(tokens)} tokens have {len(d_hidden)} gradients")
        array, states = token_array(tokens, "tokens"), self._states(d_hidden, "d_hidden", writable=True)
        found = self.model.tensors.get("layer_embedding")
        shape = None if found is None else (found.rows, found.cols)
        require(table is None or table.shape == shape, f"the table must be {shape}")
        to = _native.pointer(table, ctypes.c_float, writable=True) if table is not None else None
        looked_up = _native.pointer(array, ctypes.c_uint32)
        self._call("layer_embeddings", looked_up, len(array), _window(window), states, to, show=show)

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
        array = token_array(tokens, "tokens")
        for table, rows in (embedding, self.model.info.vocabulary), (positions, self.model.info.context):
            shape = None if table is None else table.shape
            require(shape in (None, (rows, self._width)), f"a table must be [{rows}][{self._width}], not {shape}")
        tables = (
            _native.pointer(table, ctypes.c_float, writable=True) if table is not None else None
            for table in (embedding, positions)
        )
        with self.use() as handle:
            status = _native.library().rbe_gradients_embedding(
                handle,
                _native.pointer(array, ctypes.c_uint32),
                len(array),
                _window(window),
                self._states(d_hidden, "d_hidden"),
                *tables,
            )
            _native.check(status, OptionError)

    def add_curvature(self, gradient: Gradient, total: FloatArray) -> None:
        """total[cols][cols] += the sum over windows of G^T G of a matrix that is being shown, in its lower triangle;
        what stands above it means nothing. G is the gradient of a window by the rows of this part. Raises OptionError
        outside `show` and for what does not fit."""
        inside = self._inside()
        x, cols = self._read_by(gradient), gradient.cols
        require(total.shape == (cols, cols), f"{gradient.name} has {cols} columns, not {total.shape}")
        n, rows = gradient.d.shape
        raw = _native.CurvatureRows(
            struct_bytes=ctypes.sizeof(_native.CurvatureRows),
            x=_native.pointer(x, ctypes.c_float),
            d=_native.pointer(gradient.d, ctypes.c_float),
            n_tokens=n,
            window_tokens=gradient.window,
            n_rows=rows,
            cols=cols,
        )
        status = _native.library().rbe_gradients_add_curvature(
            inside, ctypes.byref(raw), _native.pointer(total, ctypes.c_float, writable=True)
        )
        _native.check(status, OptionError)

    def add(self, gradient: Gradient, total: FloatArray, window: int | None = None) -> None:
        """total[rows][cols] += d.T @ x of a matrix that is being shown; of a part of its rows, to these. window: of the
        tokens of that window alone, counted from 0; None: of all. A vector is added as it is. In a fixed order, on all
        threads. Raises OptionError outside `show` and for what does not fit."""
        inside = self._inside()
        require(
            total.shape == (gradient.rows, gradient.cols),
            f"{gradient.name} is [{gradient.rows}][{gradient.cols}], not {total.shape}",
        )
        if gradient.x is None:
            total += gradient.d
            return
        read, n = self._read_by(gradient), len(gradient.d)
        tokens = slice(0, n) if window is None else slice(window * gradient.window, (window + 1) * gradient.window)
        require(0 <= tokens.start < n, f"there are {-(-n // gradient.window)} windows, and none is {window}")
        to = total[gradient.first_row : gradient.first_row + gradient.d.shape[1]]
        x, d = (_native.pointer(array[tokens], ctypes.c_float) for array in (read, gradient.d))
        status = _native.library().rbe_gradients_add(
            inside,
            x,
            d,
            min(tokens.stop, n) - tokens.start,
            len(to),
            gradient.cols,
            _native.pointer(to, ctypes.c_float, writable=True),
        )
        _native.check(status, OptionError)

    @staticmethod
    def _read_by(gradient: Gradient) -> FloatArray:
        """x of a matrix, which has as many tokens as d."""
        x, name = gradient.x, gradient.name
        require(x is not None, f"{name} is no matrix")
        assert x is not None
        n, cols = len(gradient.d), gradient.cols
        require(gradient.d.ndim == 2 and x.shape == (n, cols), f"{name} reads [{n}][{cols}], not {x.shape}")
        return x
