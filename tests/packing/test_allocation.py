"""Allocation: the dynamic program against trying everything, and what the choices are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing import allocation
from rbe_edge.sources.plan import TensorPlan


def brute_force(choices: list[list[tuple[int, float]]], budget: int) -> float:
    losses = [
        sum(loss for _, loss in picked)
        for picked in itertools.product(*choices)
        if sum(n_bytes for n_bytes, _ in picked) <= budget
    ]
    return min(losses, default=float("inf"))


row = st.lists(
    st.tuples(st.integers(0, 40).map(lambda n: 64 * n), st.integers(0, 1000).map(float)), min_size=1, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(st.lists(row, min_size=1, max_size=5), st.integers(0, 6000))
def test_nothing_better_exists(choices: list[list[tuple[int, float]]], budget: int) -> None:
    best = brute_force(choices, budget)
    if best == float("inf"):
        with pytest.raises(PackError):
            allocation.solve(choices, budget)
        return
    chosen = allocation.solve(choices, budget)
    picked = [options[index] for options, index in zip(choices, chosen, strict=True)]
    assert sum(n_bytes for n_bytes, _ in picked) <= budget
    assert sum(loss for _, loss in picked) == pytest.approx(best)


def test_a_coarse_grid_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 60 cells instead of thousands the result is a little worse, never too large."""
    random = np.random.default_rng(1)
    choices = [
        [(int(bits * size), float(weight * 4.0**-bits)) for bits in range(1, 6)]
        for size, weight in zip(random.integers(999, 5000, 12), random.random(12), strict=True)
    ]
    budget = 100_001

    def total(column: int, chosen: list[int]) -> float:
        return sum(options[index][column] for options, index in zip(choices, chosen, strict=True))

    exact = allocation.solve(choices, budget)
    monkeypatch.setattr(allocation, "MAX_CELLS", 60)
    coarse = allocation.solve(choices, budget)
    assert total(0, exact) <= budget and total(0, coarse) <= budget
    assert total(1, exact) < total(1, coarse) < 2 * total(1, exact)


def test_ties_go_to_the_first_choice() -> None:
    assert allocation.solve([[(64, 1.0), (128, 1.0)]], 1000) == [0]


def plan(name: str, role: str = "matrix", rows: int = 256, cols: int = 256) -> TensorPlan:
    return TensorPlan(name, role, rows, cols, values=np.ones((rows, cols), np.float32))


def test_choices_are_a_staircase() -> None:
    choices = allocation.choices_of(plan("layers.0.attention.q"), 2.0)
    assert [choice.storage.planes for choice in choices[:-1]] == list(allocation.RATE_POINTS)
    assert choices[-1].storage.planes == ()
    for less, more in itertools.pairwise(choices):
        assert less.file_bytes < more.file_bytes and less.kl > more.kl
    assert choices[1].kl == pytest.approx(2 * 0.072, rel=0.01)


def test_nested_choices_have_a_base_that_is_a_model() -> None:
    choices = allocation.choices_of(plan("layers.0.attention.q"), 1.0, True)
    assert {choice.storage.planes[:1] for choice in choices} == {(2,), (3,), (4,), ()}
    wide = allocation.choices_of(plan("embedding", "embedding"), 1.0, True)
    assert {choice.storage.planes[:1] for choice in wide} == {(3,), (4,), ()}
    for choice in choices:
        split = len(choice.storage.planes) > 1
        assert (choice.first_bytes < choice.storage.n_bytes) == (choice.first_kl > choice.kl) == split


def test_a_nested_file_gives_little_for_what_can_be_left_unread() -> None:
    tensors = [plan(f"layers.{layer}.feed_forward.up", rows=256, cols=256) for layer in range(12)]
    sensitivities = {tensor.name: 2.0**-number for number, tensor in enumerate(tensors)}
    budget = 12 * 256 * 256 // 2 + 12 * 600
    plain = allocation.decide(tensors, sensitivities, budget)
    nested = allocation.decide(tensors, sensitivities, budget, nested=True)
    assert sum(decision.choice.file_bytes for decision in nested) <= budget

    def kl(decisions: tuple[allocation.Decision, ...]) -> float:
        return sum(decision.choice.kl for decision in decisions)

    assert kl(plain) <= kl(nested) <= 1.05 * allocation.NESTED_LOSS * kl(plain)
    read = sum(decision.choice.first_bytes for decision in nested)
    assert read < 0.9 * sum(decision.choice.file_bytes for decision in nested)
    split = [len(decision.choice.storage.planes) > 1 for decision in nested]
    assert any(split) and not all(split), "only those that bear it"


def test_short_matrices_and_norms_stay_dense() -> None:
    for tensor in (plan("short", rows=4, cols=8), plan("norm", "norm", 1), plan("position", "positions")):
        (choice,) = allocation.choices_of(tensor, 1.0)
        assert choice.storage.planes == ()


def test_sensitive_tensors_get_more() -> None:
    tensors = [plan("layers.0.feed_forward.up"), plan("layers.1.feed_forward.up"), plan("norm", "norm", 1)]
    sensitivities = {"layers.0.feed_forward.up": 16.0, "layers.1.feed_forward.up": 1.0}
    budget = 2 * allocation.choices_of(tensors[0], 1.0)[2].file_bytes + 256 * 4
    loud, quiet, norm = allocation.decide(tensors, sensitivities, budget)
    assert (loud.choice.storage.planes, quiet.choice.storage.planes) == ((4,), (2,))
    assert norm.sensitivity == 0 and norm.choice.kl == 0
    even = allocation.decide(tensors, None, budget)
    assert [decision.choice.storage.planes for decision in even[:2]] == [(3,), (3,)]


def test_too_little_room() -> None:
    tensors = [plan("layers.0.feed_forward.up")]
    least = allocation.choices_of(tensors[0], 1.0)[0].file_bytes
    assert allocation.decide(tensors, None, least)[0].choice.storage.planes == (1,)
    with pytest.raises(PackError, match="at least"):
        allocation.decide(tensors, None, least - 1)


def test_the_table_of_errors_is_that_of_the_codec() -> None:
    weights = np.random.default_rng(2).standard_normal((512, 512)).astype(np.float32)
    for planes, error in allocation.GAUSSIAN_ERROR.items():
        assert trellis.encode(weights, planes, 7).error == pytest.approx(error, rel=0.04), planes
