"""Pairs of a text and its answer through both stacks of an encoder-decoder, and back.

Layers count from the encoder's first one: those of the decoder come behind those of the encoder. Backwards, the
gradient by the hidden states behind the encoder's last norm is summed over the decoder's layers, and then goes on
through those of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from rbe_edge.packing import schedule
from rbe_edge.packing.array_store import ArrayStore
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.loss import FloatArray, Loss, Show
from rbe_edge.packing.pairs import Pair
from rbe_edge.packing.passes import CALL_TOKENS, Passes, settings
from rbe_edge.progress import Report
from rbe_edge.runtime.gradient_values import Texts
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradients

_TEXT, _ANSWER = "text", "answer"
_FORWARD, _BACK = 1, 4  # multiplications of a weight and token


@dataclass(frozen=True)
class _Call:
    """Pairs with texts of one length, and answers of one length: rows of all texts and of all answers."""

    texts: slice
    answers: slice
    text_window: int
    window: int


class PairPasses(Passes):
    """Pairs in the order of their lengths."""

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
        self._pairs: Sequence[Pair] = windows
        self._copy = copy
        self._forecast = forecast
        self._loss = loss
        self._encoder_layers = _encoder_layers(model)
        self._tokens = {
            _TEXT: [token for pair in self._pairs for token in pair.text],
            _ANSWER: [token for pair in self._pairs for token in pair.answer],
        }
        rows = sum(map(len, self._tokens.values()))
        n_bytes = 4 * rows * model.info.width * (max(model.info.layers, self._encoder_layers) + 4)
        self._store = ArrayStore(copy.path.parent, keeping, f"{settings(loss)} passing", n_bytes)
        longest = max(max(len(pair.text), len(pair.answer)) for pair in self._pairs)
        tokens = max(CALL_TOKENS, longest)
        self._decoder = model.gradients(tokens=tokens, context=longest, threads=threads or 0)
        try:
            self._encoder = model.gradients(tokens=tokens, context=longest, threads=threads or 0, encoder=True)
        except BaseException:
            self._decoder.close()
            raise

    @staticmethod
    def layers(model: Model) -> int:
        return _encoder_layers(model) + model.info.layers

    def gradients_of(self, layer: int) -> Gradients:
        return self._decoder if layer >= self._encoder_layers else self._encoder

    def close(self) -> None:
        self._encoder.close()
        self._decoder.close()

    def leave(self, layer: int) -> None:
        """The gradients before both stacks stay for the embedding."""
        first = self._encoder_layers
        self._store.forget(f"sum {layer + 1}")
        self._store.forget(f"states {layer}")
        if layer + 1 not in (0, first):
            self._store.forget(f"gradient {layer + 1}")
        if layer == first:
            self._store.forget("texts")
        if layer == first - 1:
            self._store.forget("states behind the encoder")
        if layer < 0:
            for kept in (0, first):
                self._store.forget(f"gradient {kept}")

    def go_back(self, layer: int, show: Show | None = None) -> None:
        if layer >= self._encoder_layers:
            self._back_through_decoder(layer, show)
        else:
            self._back_through_encoder(layer, show)

    def looked_up(self) -> Iterator[tuple[Sequence[int], FloatArray]]:
        of_answers = self._gradient(self._encoder_layers)
        of_texts = self._gradient(0)
        text = answer = 0
        for pair in self._pairs:
            text_end, answer_end = text + len(pair.text), answer + len(pair.answer)
            yield [*pair.text, *pair.answer], np.concatenate([of_texts[text:text_end], of_answers[answer:answer_end]])
            text, answer = text_end, answer_end

    # ---- forward ----

    def _found(self, what: str) -> FloatArray | None:
        found = self._store.find(what)
        return None if found is None else found.reshape(-1, self.model.info.width).copy()

    def _run(self, stack: str, first: int, layer: int) -> FloatArray:
        """States of a stack, whose first layer is given, before a layer; those before it are kept too."""
        at = layer
        while (states := self._found(self._name(stack, at))) is None and at > first:
            at -= 1
        if states is None:
            states = self._embedded(stack)
            self._store.put(self._name(stack, first), states)
        texts = self._texts() if stack == _ANSWER and at < layer else None
        gradients = self._decoder if stack == _ANSWER else self._encoder
        for number in range(at, layer):
            with self._passing("reading the text", number, _FORWARD) as report:
                for call in self._calls():
                    part, window = self._part(call, stack)
                    given = None if texts is None else Texts(texts[call.texts], None, call.text_window)
                    gradients.forward(number - first, states[part], window=window, texts=given)
                    report(call.answers.stop, len(self._tokens[_ANSWER]))
            self._store.put(self._name(stack, number + 1), states)
        return states

    def _name(self, stack: str, layer: int) -> str:
        """Of states. Those behind the encoder and those before the decoder have one number."""
        return "states behind the encoder" if stack == _TEXT and layer == self._encoder_layers else f"states {layer}"

    def _embedded(self, stack: str) -> FloatArray:
        rows = self._copy.read("embedding").reshape(-1, self.model.info.width)
        scale = self.model.metadata.get("embedding.scale", 1.0)
        assert isinstance(scale, int | float)
        found: FloatArray = rows[self._tokens[stack]] * np.float32(scale)
        return found

    def _texts(self) -> FloatArray:
        """Behind the encoder's last norm."""
        found = self._found("texts")
        if found is None:
            found = self._run(_TEXT, 0, self._encoder_layers)
            for call in self._calls():
                self._encoder.forward(self._encoder_layers, found[call.texts], window=call.text_window)
            self._store.put("texts", found)
        return found

    # ---- backward ----

    def _gradient(self, layer: int) -> FloatArray:
        """By the states before a layer."""
        return self._gone_back(f"gradient {layer}", layer)

    def _sum(self, layer: int) -> FloatArray:
        """By the texts, of the decoder's layers from this one on."""
        return self._gone_back(f"sum {layer}", layer)

    def _gone_back(self, what: str, layer: int) -> FloatArray:
        found = self._found(what)
        if found is None:
            self.go_back(layer)
            found = self._store.get(what).reshape(-1, self.model.info.width).copy()
        return found

    def _back_through_decoder(self, layer: int, show: Show | None) -> None:
        first, end = self._encoder_layers, self.layers(self.model)
        states = self._run(_ANSWER, first, layer)
        if layer == end:
            d_hidden, d_texts = np.zeros_like(states), np.zeros((len(self._tokens[_TEXT]), states.shape[1]), np.float32)
            texts = d_texts
        else:
            d_hidden, d_texts, texts = self._gradient(layer + 1), self._sum(layer + 1), self._texts()
        with self._passing("measuring what counts", layer, _BACK) as report:
            for call in self._calls():
                part, window = call.answers, call.window
                if layer == end:
                    d_hidden[part] = self._loss.gradient(self._decoder, states[part], window, part.start, show)
                else:
                    given = Texts(texts[call.texts], d_texts[call.texts], call.text_window)
                    self._decoder.layer(layer - first, states[part], d_hidden[part], show, window=window, texts=given)
                report(part.stop, len(states))
        self._store.put(f"sum {layer}", d_texts)
        self._store.put(f"gradient {layer}", d_hidden)

    def _back_through_encoder(self, layer: int, show: Show | None) -> None:
        is_last = layer + 1 == self._encoder_layers
        d_hidden = self._sum(layer + 1) if is_last else self._gradient(layer + 1)
        behind = self._run(_TEXT, 0, self._encoder_layers) if is_last else None
        states = self._run(_TEXT, 0, layer)
        with self._passing("measuring what counts", layer, _BACK) as report:
            for call in self._calls():
                part, window = call.texts, call.text_window
                if behind is not None:
                    self._encoder.norm(behind[part], d_hidden[part], window=window)
                self._encoder.layer(layer, states[part], d_hidden[part], show, window=window)
                report(part.stop, len(states))
        self._store.put(f"gradient {layer}", d_hidden)

    # ---- calls ----

    def _calls(self) -> Iterator[_Call]:
        text = answer = 0
        for (text_size, size), group in groupby(self._pairs, lambda pair: (len(pair.text), len(pair.answer))):
            left = len(list(group))
            most = max(CALL_TOKENS // max(text_size, size), 1)
            while left:
                n = min(left, most)
                texts, answers = slice(text, text + n * text_size), slice(answer, answer + n * size)
                yield _Call(texts, answers, text_size, size)
                text, answer, left = texts.stop, answers.stop, left - n

    @staticmethod
    def _part(call: _Call, stack: str) -> tuple[slice, int]:
        return (call.texts, call.text_window) if stack == _TEXT else (call.answers, call.window)

    def _passing(self, what: str, layer: int, times: int) -> AbstractContextManager[Report]:
        stack = _ANSWER if layer >= self._encoder_layers else _TEXT
        units = times * _weights(self._copy.weights, layer, self._encoder_layers) * len(self._tokens[stack]) / 1e9
        return self._forecast.doing("passing", what, units)


def _encoder_layers(model: Model) -> int:
    kind = model.encoder_decoder
    assert kind is not None
    return kind.encoder_layers


def _weights(weights: schedule.Weights, layer: int, encoder_layers: int) -> int:
    """Of a layer; of one that is none, of the head."""
    prefix = f"layers.{layer - encoder_layers}." if layer >= encoder_layers else f"encoder.layers.{layer}."
    found = sum(n for name, n in weights.items() if name.startswith(prefix))
    return found or weights.get("head", weights.get("embedding", 0))


def expected(weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int) -> dict[str, float]:
    """What a Curvature of pairs has to do (schedule.py), where texts are as long as answers."""
    passing = (_FORWARD + _BACK) * n_tokens / 2 * sum(weights.values()) / 1e9
    return {"passing": passing, "factoring": sum(schedule.factor_units(tensor.cols) for tensor in tensors)}
