"""The gradient of a text's loss by everything that a model learns, made of the calls of rbe_edge.runtime.gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbe_edge import Model
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.gradients import Gradients

FloatArray = npt.NDArray[np.float32]


def states(model: Model, tokens: Sequence[int], window: int, context: int) -> list[FloatArray]:
    """The hidden states [n][width] before every layer and behind the last."""
    found = [np.empty((len(tokens), model.stream_width), np.float32) for _ in range(model.info.layers + 1)]
    with model.session(kv="f32", context=context, threads=1) as session:
        for start in range(0, len(tokens), window):
            hidden = session.embed(tokens[start : start + window])
            for layer, kept in enumerate(found):
                kept[start : start + window] = hidden
                if layer < model.info.layers:
                    session.run_layers(layer, 1, hidden)
    return found


def whole_gradient(
    model: Model,
    gradients: Gradients,
    tokens: Sequence[int],
    labels: Sequence[int] | None,
    window: int,
    context: int,
    seed: int = 0,
    source: Model | None = None,
) -> tuple[dict[str, FloatArray], npt.NDArray[np.float64]]:
    """Gradients by the names of tensors, and the losses of the tokens in nats: toward a source where there is one."""
    total: dict[str, FloatArray] = {}

    def gather(gradient: Gradient) -> None:
        if gradient.name not in total:
            total[gradient.name] = np.zeros((gradient.rows, gradient.cols), np.float32)
        gradients.add(gradient, total[gradient.name])
        if gradient.gains is not None:
            rows = slice(gradient.first_row, gradient.first_row + len(gradient.gains))
            gains = total.setdefault(f"{gradient.name}.gains", np.zeros((1, gradient.rows), np.float32))
            gains[0, rows] += gradient.gains

    hidden = states(model, tokens, window, context)
    d_hidden: FloatArray | None
    if source is None:
        head = gradients.head(hidden[-1], labels, window=window, seed=seed, show=gather)
        d_hidden, nats = head.d_hidden, head.nats
    else:
        theirs = states(source, tokens, window, context)[-1]
        toward = gradients.head_toward(hidden[-1], source, theirs, window=window, show=gather)
        d_hidden, nats = toward.d_hidden, toward.kl
    assert d_hidden is not None
    for layer in reversed(range(model.info.layers)):
        gradients.layer(layer, hidden[layer], d_hidden, gather, window=window)
    if "layer_embedding" in model.tensors:
        table = model.tensors["layer_embedding"]
        total["layer_embedding"] = np.zeros((table.rows, table.cols), np.float32)
        gradients.layer_embeddings(tokens, d_hidden, total["layer_embedding"], gather, window=window)
    for name in ("embedding", "positions"):
        if name in model.tensors and name not in total:
            total[name] = np.zeros((model.tensors[name].rows, model.info.width), np.float32)
    gradients.embedding(tokens, d_hidden, total["embedding"], total.get("positions"), window=window)
    return total, nats
