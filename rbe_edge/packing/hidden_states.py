"""The hidden states of a text on their way through the layers of a model, in a file, and what is kept of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.kept import Kept, key_of
from rbe_edge.progress import Report
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

FloatArray = npt.NDArray[np.float32]

Show = Callable[[int, int, FloatArray], None]
"""show(layer, point, x): what matrices of a layer read at a point, float32 [tokens][cols], valid during the call."""


@dataclass(frozen=True)
class Keeping:
    """Under which keys an interrupted calibration is kept. original: of what the model's own statistics depend on;
    work: of that and of what is packed."""

    kept: Kept
    original: str
    work: str


class HiddenStates:
    """float32 [tokens][width]: the input of `layer`, 0 at first. A context manager. Memory: a window; the states lie in
    a nameless file."""

    def __init__(
        self,
        model: Model,
        windows: Sequence[Sequence[int]],
        directory: Path,
        threads: int | None,
        keeping: Keeping | None = None,
    ) -> None:
        """directory: for the file. keeping: None where nothing is kept."""
        self.layer = 0
        self.width = model.info.width
        self.n_tokens = sum(map(len, windows))
        self._keeping = keeping
        self._written: str | None = None  # the key of what is kept
        with ExitStack() as stack:
            self._session = stack.enter_context(
                model.session(
                    context=max(map(len, windows)), threads=threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
                )
            )
            scratch = stack.enter_context(tempfile.TemporaryFile(dir=directory))
            self._states = np.memmap(scratch, np.float32, "w+", shape=(self.n_tokens, self.width))
            ends = np.cumsum([len(window) for window in windows])
            self._hidden = [self._states[end - len(window) : end] for window, end in zip(windows, ends, strict=True)]
            for window, hidden in zip(windows, self._hidden, strict=True):
                hidden[:] = self._session.embed(window)
            self._stack = stack.pop_all()

    def __enter__(self) -> HiddenStates:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def resume(self, layer: int) -> None:
        """Goes on to what an interrupted run has kept, at most the input of `layer`; what is packed before it must be
        in the copy by now."""
        if self._keeping is None:
            return
        for kept_layer in range(layer, self.layer, -1):
            key = self._key(kept_layer)
            content = self._keeping.kept.read(key)
            if content is not None and len(content) == self._states.nbytes:
                self._states[:] = np.frombuffer(content, np.float32).reshape(self._states.shape)
                self.layer, self._written = kept_layer, key
                return

    def advance(self, layer: int, report: Report, show: Show | None = None) -> None:
        """To the input of `layer`, window by window. show: sees what the layers on the way read."""
        if layer > self.layer:
            for number, hidden in enumerate(self._hidden):
                self._session.run_layers(self.layer, layer - self.layer, hidden, show)
                report(number + 1, len(self._hidden))
            self.layer = layer

    def keep(self) -> None:
        """Keeps them as they are, in place of those of an earlier layer."""
        if self._keeping is None or self.layer == 0 or self._written == self._key(self.layer):
            return
        key = self._key(self.layer)
        self._keeping.kept.write(key, self._states.data)
        self.forget()
        self._written = key

    def energies(self) -> npt.NDArray[np.float64]:
        """|h|^2 of each token."""
        return np.concatenate([np.einsum("ij,ij->i", hidden, hidden, dtype=np.float64) for hidden in self._hidden])

    def look(self, end: int, report: Report, show: Show) -> None:
        """Runs the layers up to `end`, and leaves the states as they are."""
        for number, hidden in enumerate(self._hidden):
            self._session.run_layers(self.layer, end - self.layer, np.array(hidden), show)
            report(number + 1, len(self._hidden))

    def forget(self) -> None:
        """Removes what is kept of them: another layer is, or nobody needs them any more."""
        if self._keeping is not None and self._written is not None:
            self._keeping.kept.forget([self._written])
        self._written = None

    def _key(self, layer: int) -> str:
        assert self._keeping is not None
        return key_of("hidden states", self._keeping.work, layer)
