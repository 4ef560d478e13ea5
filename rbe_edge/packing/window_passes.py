"""Windows of text, or whole texts, through the layers of a model with one stack, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from rbe_edge.packing import schedule
from rbe_edge.packing.array_store import ArrayStore
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.loss import FloatArray, Loss, Show
from rbe_edge.packing.passes import CALL_TOKENS, Passes, settings
from rbe_edge.runtime.model import Model

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradients


class WindowPasses(Passes):
    """Windows through the layers of a decoder or of an encoder."""

    def __init__(
        self,
        model: Model,
        windows: Sequence[Any],
        copy: DenseCopy,
        threads: int | None,
        forecast: Forecast,
        keeping: Keeping | None,
        loss: Loss,
    ) -> None:
        self.model = model
        self._windows = windows
        self._loss = loss
        self._n_tokens = sum(map(len, windows))
        self._weights = copy.weights
        self._threads = threads or 0
        self._forecast = forecast
        n_bytes = 4 * self._n_tokens * model.info.width * (model.info.layers + 2)
        self._store = ArrayStore(copy.path.parent, keeping, f"{settings(loss)} passing", n_bytes)
        self._longest = max(map(len, windows))
        tokens = max(CALL_TOKENS, self._longest)
        self._gradients = model.gradients(tokens=tokens, context=self._longest, threads=self._threads)

    @staticmethod
    def layers(model: Model) -> int:
        return model.info.layers

    def gradients_of(self, layer: int) -> Gradients:
        return self._gradients

    def close(self) -> None:
        self._gradients.close()

    def leave(self, layer: int) -> None:
        self._store.forget(f"gradient {layer + 1}")
        self._store.forget(f"states {layer}")

    def _found(self, what: str) -> FloatArray | None:
        found = self._store.find(what)
        return None if found is None else found.reshape(self._n_tokens, -1).copy()

    def _states(self, layer: int) -> FloatArray:
        """Before a layer, or behind the last one; those before it are kept too."""
        first, size = layer, self._longest
        while (states := self._found(f"states {first}")) is None and first > 0:
            first -= 1
        with self.model.session(context=size, threads=self._threads, pass_tokens=size, kv="f32") as session:
            if states is None:
                states = np.concatenate([session.embed(window) for window in self._windows])
                self._store.put("states 0", states)
            for number in range(first, layer):
                units = schedule.pass_units(self._weights, number, number + 1, len(states))
                with self._forecast.doing("passing", "reading the text", units) as report:
                    start = 0
                    for window in self._windows:
                        session.run_layers(number, 1, states[start : start + len(window)])
                        start += len(window)
                        report(start, len(states))
                self._store.put(f"states {number + 1}", states)
        return states

    def looked_up(self) -> Iterator[tuple[Sequence[int], FloatArray]]:
        d_rows = self._loss.by_looked_up(self._windows, self._behind(-1))
        lengths = np.cumsum([len(window) for window in self._windows])
        yield from zip(self._windows, np.split(d_rows, lengths[:-1]), strict=True)

    def _behind(self, layer: int) -> FloatArray:
        """The gradient by the hidden states behind a layer; of -1, before the first one."""
        found = self._found(f"gradient {layer + 1}")
        return self._gone_back(layer + 1, None) if found is None else found

    def _calls(self) -> Iterator[tuple[slice, int]]:
        """Rows of some windows of one length, and that length."""
        start = 0
        for length, group in groupby(map(len, self._windows)):
            end = start + length * len(list(group))
            step = max(CALL_TOKENS // length, 1) * length
            yield from ((slice(first, min(first + step, end)), length) for first in range(start, end, step))
            start = end

    def go_back(self, layer: int, show: Show | None = None) -> None:
        self._gone_back(layer, show)

    def _gone_back(self, layer: int, show: Show | None) -> FloatArray:
        states, of_head = self._states(layer), layer == self.model.info.layers
        d_hidden: FloatArray = np.zeros(states.shape, np.float32) if of_head else self._behind(layer)
        n = len(states)
        units = schedule.back_units(self._weights, layer, n)
        with self._forecast.doing("passing", "measuring what counts", units) as report:
            for part, window in self._calls():
                if of_head:
                    d_hidden[part] = self._loss.gradient(self._gradients, states[part], window, part.start, show)
                else:
                    self._gradients.layer(layer, states[part], d_hidden[part], show, window=window)
                report(part.stop, n)
        self._store.put(f"gradient {layer}", d_hidden)
        return d_hidden
