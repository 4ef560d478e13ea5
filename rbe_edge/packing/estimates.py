"""How much a model suffers from errors in each of its matrices: estimated from one run of the model, where
curvature.py takes gradients (docs/codec.md, "Effort").

What a relative error of a matrix costs is in proportion to how much of the residual stream its block writes, and to a
power of what error feedback leaves of it (survey.py): where little is left, few directions carry the input, and the
model needs few of them. Factors and powers are fitted to measured sensitivities of SmolLM2-135M.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rbe_edge.format.experts import is_of_expert
from rbe_edge.packing.schedule import layer_and_part
from rbe_edge.packing.survey import Flow
from rbe_edge.sources.plan import TensorPlan

FACTORS: Mapping[str, tuple[float, int]] = {
    "attention.q": (16, 2), "attention.k": (14, 2), "attention.v": (32, 2), "attention.o": (11, 1),
    "attention.gate": (16, 2),
    "convolution.in": (16, 2), "convolution.out": (11, 1),
    "recurrence.q": (16, 2), "recurrence.k": (14, 2), "recurrence.v": (32, 2), "recurrence.gate": (16, 2),
    "recurrence.o": (11, 1),
    "feed_forward.gate": (12, 2), "feed_forward.up": (18, 2), "feed_forward.down": (9, 1),
    "layer_embedding.gate": (12, 2), "layer_embedding.projection": (9, 1),
}  # fmt: skip
"""Nats per token and unit of what an error adds to the stream, and the power of what feedback leaves. Those of short
convolutions are the ones of q and o, those of recurrent layers the ones of attention, not measured."""

SHARED_FACTORS: Mapping[str, float] = {"attention.k": 1.5, "attention.v": 2.5}
"""How many times more keys and values count that several heads share: an error of a value adds up over tokens."""

_GIVEN = "layer_embedding.projection"
_WRITERS = {
    "attention": "attention.o", "convolution": "convolution.out", "recurrence": "recurrence.o",
    "feed_forward": "feed_forward.down", "shared": "shared.down", "layer_embedding": _GIVEN,
}  # fmt: skip
_FACTOR_OF_INPUTS = FACTORS[_GIVEN][0]

HEAD_FACTOR = 1.5
"""Nats per token and unit of half the square of a logit."""

_DIGITS = 4  # what is used: more would say nothing


def estimated(tensors: Sequence[TensorPlan], flow: Flow) -> dict[str, float]:
    """As Curvature.sensitivities: nats per token and unit of relative squared error."""
    return {tensor.name: float(f"{_sensitivity(tensor, flow):.{_DIGITS}g}") for tensor in tensors}


def _sensitivity(tensor: TensorPlan, flow: Flow) -> float:
    """Of one matrix. An embedding that no lm_head reads is looked up: each row is to be as exact as one of the head."""
    number, part = layer_and_part(tensor.name)
    if tensor.name.startswith("layer_embedding"):  # half of what every layer is given, before the layers
        return 0.5 * sum(_FACTOR_OF_INPUTS * layer.shares.get(_GIVEN, 0.0) for layer in flow.layers)
    if number is None:
        return HEAD_FACTOR * flow.logits * min(flow.head.kept.values(), default=1.0)
    layer = flow.layers[number]
    if is_of_expert(tensor.name):
        expert, _, role = part.rpartition(".")
        writer, part = f"{expert}.down", f"feed_forward.{role}"
    else:
        writer = _WRITERS[part.split(".")[0]]
        part = part.replace("shared.", "feed_forward.")
    factor, power = FACTORS.get(part, (1.0, 1))
    if tensor.role == "key_value":
        factor *= SHARED_FACTORS.get(part, 1.0)
    return factor * layer.shares.get(writer, 0.0) * layer.kept.get(tensor.reads, 1.0) ** power
