"""The hidden states of a text on their way through the layers of a model, in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.progress import Report
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

FloatArray = npt.NDArray[np.float32]

Show = Callable[[int, int, FloatArray], None]
"""show(layer, point, x): what matrices of a layer read at a point, float32 [tokens][cols], valid during the call."""


class HiddenStates:
    """float32 [tokens][stream_width]: the input of `layer`, 0 at first. A context manager. Memory: a window; the states
    lie in a nameless file."""

    def __init__(self, model: Model, windows: Sequence[Sequence[int]], directory: Path, threads: int | None) -> None:
        """directory: for the file."""
        self.layer = 0
        self.n_tokens = sum(map(len, windows))
        self._width = model.info.width
        with ExitStack() as stack:
            self._session = stack.enter_context(
                model.session(
                    context=max(map(len, windows)), threads=threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
                )
            )
            scratch = stack.enter_context(tempfile.TemporaryFile(dir=directory))
            self.values = np.memmap(scratch, np.float32, "w+", shape=(self.n_tokens, model.stream_width))
            ends = np.cumsum([len(window) for window in windows])
            self._hidden = [self.values[end - len(window) : end] for window, end in zip(windows, ends, strict=True)]
            for window, hidden in zip(windows, self._hidden, strict=True):
                hidden[:] = self._session.embed(window)
            self._stack = stack.pop_all()

    def __enter__(self) -> HiddenStates:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, layer: int, values: FloatArray) -> None:
        """The input of `layer`, as it was computed before."""
        self.values[:] = values.reshape(self.values.shape)
        self.layer = layer

    def advance(self, layer: int, report: Report | None = None, show: Show | None = None) -> None:
        """To the input of `layer`, window by window. show: sees what the layers on the way read."""
        if layer > self.layer:
            for number, hidden in enumerate(self._hidden):
                self._session.run_layers(self.layer, layer - self.layer, hidden, show)
                if report is not None:
                    report(number + 1, len(self._hidden))
            self.layer = layer

    def energies(self) -> npt.NDArray[np.float64]:
        """|h|^2 of each token."""
        hidden = [states[:, : self._width] for states in self._hidden]
        return np.concatenate([np.einsum("ij,ij->i", states, states, dtype=np.float64) for states in hidden])

    def look(self, end: int, show: Show) -> None:
        """Runs the layers up to `end`, and leaves the states as they are."""
        for hidden in self._hidden:
            self._session.run_layers(self.layer, end - self.layer, np.array(hidden), show)
