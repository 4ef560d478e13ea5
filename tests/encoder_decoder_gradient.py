"""The gradient of what an encoder-decoder answers to texts, by everything that it learns, made of the calls of
rbe_edge.runtime.gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge import Model
from rbe_edge.runtime.gradient_values import Gradient, Texts
from rbe_edge.runtime.gradients import Gradients

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Texts and answers one behind the other, in windows of which the last ones may be shorter; a label for each token
    of an answer."""

    texts: Sequence[int]
    answers: Sequence[int]
    labels: Sequence[int]
    text_window: int
    window: int


@dataclass(frozen=True)
class Answered:
    """gradients: by the names of tensors. nats: the loss of each token. hidden: behind the encoder's last norm, and
    d_hidden the gradient by it."""

    gradients: dict[str, FloatArray]
    nats: npt.NDArray[np.float64]
    hidden: FloatArray
    d_hidden: FloatArray


def pairs_gradient(model: Model, pairs: Pairs, threads: int = 2, gains: bool = False) -> Answered:
    """All texts in one call of each layer."""
    kind = model.encoder_decoder
    assert kind is not None
    total: dict[str, FloatArray] = {}
    most = max(len(pairs.texts), len(pairs.answers))
    options = {"tokens": most, "context": max(pairs.text_window, pairs.window), "threads": threads, "gains": gains}
    with (
        model.session(threads=1) as session,
        model.gradients(**options) as decoder,  # type: ignore[arg-type]
        model.gradients(**options, encoder=True) as encoder,  # type: ignore[arg-type]
    ):
        text_states = _states(encoder, session.embed(pairs.texts), kind.encoder_layers, pairs.text_window)
        hidden = text_states.pop()
        d_text = np.zeros_like(hidden)
        texts = Texts(hidden, d_text, pairs.text_window)
        states = _states(decoder, session.embed(pairs.answers), model.info.layers, pairs.window, texts)
        head = decoder.head(states[-2], pairs.labels, window=pairs.window, show=_gathering(decoder, total))
        for layer in reversed(range(model.info.layers)):
            decoder.layer(
                layer, states[layer], head.d_hidden, _gathering(decoder, total), window=pairs.window, texts=texts
            )
        embedding = total.setdefault("embedding", np.zeros((model.info.vocabulary, model.info.width), np.float32))
        decoder.embedding(pairs.answers, head.d_hidden, embedding, window=pairs.window)
        d_hidden = d_text.copy()
        encoder.norm(text_states[-1], d_text, _gathering(encoder, total), window=pairs.text_window)
        for layer in reversed(range(kind.encoder_layers)):
            encoder.layer(layer, text_states[layer], d_text, _gathering(encoder, total), window=pairs.text_window)
        encoder.embedding(pairs.texts, d_text, embedding, window=pairs.text_window)
    return Answered(total, head.nats, hidden, d_hidden)


def _states(
    gradients: Gradients, hidden: FloatArray, layers: int, window: int, texts: Texts | None = None
) -> list[FloatArray]:
    """Before every layer, behind the last one, and behind the last norm."""
    found = [hidden]
    for layer in range(layers + 1):
        found.append(found[-1].copy())
        gradients.forward(layer, found[-1], window=window, texts=texts if layer < layers else None)
    return found


class _gathering:
    """Adds what is shown by names of tensors."""

    def __init__(self, gradients: Gradients, total: dict[str, FloatArray]) -> None:
        self._gradients, self._total = gradients, total

    def __call__(self, gradient: Gradient) -> None:
        shape = (gradient.rows, gradient.cols)
        self._gradients.add(gradient, self._total.setdefault(gradient.name, np.zeros(shape, np.float32)))
        if gradient.gains is not None:
            rows = slice(gradient.first_row, gradient.first_row + len(gradient.gains))
            gains = self._total.setdefault(f"{gradient.name}.gains", np.zeros((1, gradient.rows), np.float32))
            gains[0, rows] += gradient.gains
