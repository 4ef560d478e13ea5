"""How much a model suffers from errors in each of its matrices: estimated from one run of the model, where
sensitivity.py encodes and measures every one (docs/codec.md, "Effort").

What a relative error of a matrix costs is in proportion to how much of the residual stream its block writes, and to
the square of what error feedback leaves of it (survey.py): where little is left, few directions carry the input, and
the model needs few of them. The factors are fitted to measured sensitivities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rbe_edge.packing.schedule import layer_and_part
from rbe_edge.packing.survey import Flow
from rbe_edge.sources.plan import TensorPlan

FACTORS: Mapping[str, float] = {
    "attention.q": 2.0, "attention.k": 2.0, "attention.v": 3.0, "attention.o": 2.8,
    "feed_forward.gate": 2.5, "feed_forward.up": 1.7, "feed_forward.down": 2.7,
}  # fmt: skip
"""Nats per token and unit of what an error adds to the stream."""

SHARED_FACTORS: Mapping[str, float] = {"attention.k": 4.0, "attention.v": 2.0}
"""How many times more keys and values count that several heads share."""

HEAD_FACTOR = 1.5
"""Nats per token and unit of half the square of a logit."""

_DIGITS = 4  # what is used: more would say nothing


def estimated(tensors: Sequence[TensorPlan], flow: Flow) -> dict[str, float]:
    """As sensitivity.known(): nats per token and unit of relative squared error."""
    return {tensor.name: float(f"{_sensitivity(tensor, flow):.{_DIGITS}g}") for tensor in tensors}


def _sensitivity(tensor: TensorPlan, flow: Flow) -> float:
    """Of one matrix. An embedding that no lm_head reads is looked up: each row is to be as exact as one of the head."""
    number, part = layer_and_part(tensor.name)
    if number is None:
        return HEAD_FACTOR * flow.logits * min(flow.head.kept.values(), default=1.0)
    layer = flow.layers[number]
    writer = "attention.o" if part.startswith("attention.") else "feed_forward.down"
    shared = SHARED_FACTORS.get(part, 1.0) if tensor.role == "key_value" else 1.0
    return shared * FACTORS.get(part, 1.0) * layer.shares.get(writer, 0.0) * layer.kept.get(tensor.reads, 1.0) ** 2
