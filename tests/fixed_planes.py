"""Packing with planes that are given, whatever the size of the file: for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from rbe_edge.packing import allocation, sensitivity, storage
from rbe_edge.sources.plan import ModelPlan


@contextmanager
def fixed_planes(planes: tuple[int, ...], wide: tuple[int, ...] | None = None) -> Iterator[None]:
    """Inside, pack() gives `planes` to every matrix that is large enough, `wide` to embedding and lm_head."""

    def decide(plan: ModelPlan, *_: Any) -> tuple[allocation.Decision, ...]:
        decisions = []
        for tensor in plan.tensors:
            of_tensor = wide if wide is not None and tensor.role in ("embedding", "head") else planes
            coded = storage.in_planes(tensor, of_tensor) if tensor.role in storage.CODED_ROLES else None
            stored = coded or storage.dense(tensor, 16)
            choice = allocation.Choice(stored, 0.0, 0.0, stored.n_bytes)
            decisions.append(allocation.Decision(tensor, (choice,), 0, 0.0))
        return tuple(decisions)

    with (
        mock.patch.object(allocation, "decide_for_file", decide),
        mock.patch.object(sensitivity, "checked", lambda *_: {}),  # nothing is to be decided with it
    ):
        yield
