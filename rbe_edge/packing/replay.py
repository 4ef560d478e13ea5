"""Runs windows of text through a model again and again, from a layer on, while matrices behind it are replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

FloatArray = npt.NDArray[np.float32]


class Replay:
    """hidden: float32 [tokens][width] of each window, the input of `layer`, 0 at first. A context manager, for one
    thread. Memory: the hidden states."""

    def __init__(self, model: Model, windows: Sequence[Sequence[int]], threads: int | None) -> None:
        self.layer = 0
        self._windows = windows
        self._n_layers = model.info.layers
        self._session = model.session(
            context=max(map(len, windows)), threads=threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
        )
        try:
            self.hidden = [self._session.embed(window) for window in windows]
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def embed(self) -> None:
        """The input of the first layer once more: the embedding has changed."""
        assert self.layer == 0
        self.hidden = [self._session.embed(window) for window in self._windows]

    def advance(self, layer: int) -> None:
        """Runs the text up to the input of a layer, so that the layers before it are run once."""
        if layer == self.layer:
            return
        assert layer > self.layer
        for hidden in self.hidden:
            self._session.run_layers(self.layer, layer - self.layer, hidden)
        self.layer = layer

    def last(self) -> Iterator[FloatArray]:
        """What the lm_head reads, float32 [tokens][width], window by window."""
        for states in self.hidden:
            parts: list[FloatArray] = []

            def keep(layer: int, point: int, x: FloatArray, parts: list[FloatArray] = parts) -> None:
                if point == _native.CAPTURE_LM_HEAD:
                    parts.append(x.copy())

            self._session.run_layers(self.layer, self._n_layers - self.layer, states.copy(), keep)
            yield np.concatenate(parts)
