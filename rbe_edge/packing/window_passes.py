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
        table = model.tensors.get("layer_embedding")
        self._inputs = 0 if table is None else table.cols  # of layers, which stay the same on the way
        n_values = (model.stream_width - self._inputs) * (model.info.layers + 1) + self._inputs + model.stream_width
        n_bytes = 4 * self._n_tokens * n_values
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
        if layer < 0:
            self._store.forget("layer inputs")

    def _found(self, what: str) -> FloatArray | None:
        found = self._store.find(what)
        return None if found is None else found.reshape(self._n_tokens, -1).copy()

    def _states(self, layer: int) -> FloatArray:
        """Before a layer, or behind the last one; those before it are kept too."""
        first, size = layer, self._longest
        while (states := self._found_states(first)) is None and first > 0:
            first -= 1
        with self.model.session(context=size, threads=self._threads, pass_tokens=size, kv="f32") as session:
            if states is None:
                states = np.concatenate([session.embed(window) for window in self._windows])
                self._keep_states(0, states)
            for number in range(first, layer):
                units = schedule.pass_units(self._weights, number, number + 1, len(states))
                with self._forecast.doing("passing", "reading the text", units) as report:
                    start = 0
                    for window in self._windows:
                        session.run_layers(number, 1, states[start : start + len(window)])
                        start += len(window)
                        report(start, len(states))
                self._keep_states(number + 1, states)
        return states

    def _found_states(self, layer: int) -> FloatArray | None:
        found, width = self._found(f"states {layer}"), self.model.info.width
        if found is None or not self._inputs:
            return found
        inputs = self._found("layer inputs")
        return None if inputs is None else np.concatenate([found[:, :width], inputs, found[:, width:]], axis=1)

    def _keep_states(self, layer: int, states: FloatArray) -> None:
        inputs = slice(self.model.info.width, self.model.info.width + self._inputs)
        if self._inputs and layer == 0:
            self._store.put("layer inputs", np.ascontiguousarray(states[:, inputs]))
        self._store.put(f"states {layer}", np.delete(states, inputs, axis=1) if self._inputs else states)

    def looked_up(self) -> Iterator[tuple[Sequence[int], FloatArray]]:
        yield from self._by_window(self._loss.by_looked_up(self._windows, self._before_layers(None)))

    def looked_up_for_layers(self, show: Show) -> list[tuple[Sequence[int], FloatArray]]:
        if not self._inputs:
            return []
        scale, width = 1.0, self.model.info.width
        for key in ("layer_embedding.scale", "layer_embedding.sum_scale"):
            value = self.model.metadata.get(key, 1.0)
            assert isinstance(value, int | float)
            scale *= value
        d_inputs = self._behind(-1)[:, width : width + self._inputs] * np.float32(scale)
        self._before_layers(show)
        return self._by_window(d_inputs)

    def _before_layers(self, show: Show | None) -> FloatArray:
        """The gradient by the embedding, [tokens][width]. show: sees what is between it and the layers."""
        d_rows = self._behind(-1)
        if not self._inputs:
            return d_rows
        d_rows = d_rows.copy()
        tokens = np.concatenate([np.array(window, np.uint32) for window in self._windows])
        for part, window in self._calls():
            self._gradients.layer_embeddings(tokens[part].tolist(), d_rows[part], show=show, window=window)
        return np.ascontiguousarray(d_rows[:, : self.model.info.width])

    def _by_window(self, rows: FloatArray) -> list[tuple[Sequence[int], FloatArray]]:
        lengths = np.cumsum([len(window) for window in self._windows])
        return list(zip(self._windows, np.split(rows, lengths[:-1]), strict=True))

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
