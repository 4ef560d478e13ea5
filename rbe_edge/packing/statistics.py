"""What a packing has to do with the model before it encodes, by its effort."""

from __future__ import annotations

from collections.abc import Sequence

from rbe_edge.packing import curvature, pair_survey, schedule, sensitivity, survey
from rbe_edge.packing.effort import Effort
from rbe_edge.sources.plan import ModelPlan, TensorPlan


def expected(
    weights: schedule.Weights, coded: Sequence[TensorPlan], n_tokens: int, plan: ModelPlan, effort: Effort
) -> dict[str, float]:
    """As schedule.py counts it. weights: of the copy; coded: the tensors that may be coded; n_tokens: of the text."""
    if plan.is_encoder_decoder:
        return pair_survey.expected(weights, coded, n_tokens, effort.quick)
    if effort.quick:
        return survey.expected(weights, coded, n_tokens)
    if plan.is_encoder:
        return curvature.expected(weights, coded, n_tokens)
    measuring = sensitivity.expected(coded, weights, plan.vocabulary, effort)
    return schedule.added(curvature.expected(weights, coded, n_tokens), measuring)
