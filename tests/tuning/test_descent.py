"""The gradient by the parameters against finite differences; the optimiser, the rate and the order of windows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from tuning_pair import make_pair

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.tuning.dense_model import write_dense
from rbe_edge.tuning.descent import Adam, Schedule, batches
from rbe_edge.tuning.distillation import SourceStates, distillation
from rbe_edge.tuning.parameters import Parameters

WINDOWS = [[(37 * i * i + (11 + k) * i + 5) % 268 for i in range(24)] for k in range(3)]


def nothing(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("name", ["llama_bias", "gpt2", "gemma3", "gemma4", "qwen3", "qwen2_moe", "granite4"])
def test_gradient(name: str, tmp_path: Path) -> None:
    """A step along the gradient of the parameters of a tensor changes the divergence by its norm, at zero and away from
    it: tied heads, learned positions, scaled embeddings."""
    pair = make_pair(tmp_path, name)
    with Model.open(pair.packed) as packed, Model.open(pair.dense) as source:
        copy = write_dense(packed, tmp_path / "copy.rbe", nothing)
        parameters = Parameters(packed)
        with distillation(copy, source, WINDOWS, 1) as model:
            start = np.random.default_rng(2).uniform(-0.1, 0.1, parameters.count)
            parameters.values[:] = start
            parameters.write(copy)
            gradient = model.gradient([0, 2], parameters, nothing)
            norms = {tensor: float(np.linalg.norm(gradient[place])) for tensor, place in parameters.places.items()}
            largest = max(norms.values())
            for tensor, place in parameters.places.items():
                if norms[tensor] < 0.01 * largest:  # fp32 has no such difference
                    continue
                sides = []
                for sign in (1, -1):
                    size = sign * 2e-3 * largest / norms[tensor] ** 2
                    parameters.values[:] = start
                    parameters.values[place] += min(abs(size), 0.02 / norms[tensor]) * sign * gradient[place]
                    parameters.write(copy)
                    sides.append((model.divergence([0, 2], nothing), float(parameters.values[place] @ gradient[place])))
                slope = (sides[0][0] - sides[1][0]) / (sides[0][1] - sides[1][1])
                assert slope == pytest.approx(1, rel=2e-2), tensor


def test_states_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the same when they are read again; where there is no room for them, a line says so."""
    pair = make_pair(tmp_path, "llama_bias")
    with Model.open(pair.dense) as source:
        with SourceStates(source, WINDOWS, tmp_path, 1) as states:
            first = [states.of(number).copy() for number in (2, 0)]
            for found, number in zip(first, (2, 0), strict=True):
                np.testing.assert_array_equal(states.of(number), found)
        with source.session(kv="f32", context=24, threads=1) as session:
            hidden = session.embed(WINDOWS[2])
            session.run_layers(0, source.info.layers, hidden)
        np.testing.assert_array_equal(first[0], hidden)
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=0))
        with SourceStates(source, WINDOWS, tmp_path, 1) as states, pytest.raises(PackError, match="TMPDIR"):
            states.of(0)


def test_adam() -> None:
    """The first two steps, by hand: of the sign of the gradient, then of what two gradients make of it."""
    values = np.zeros(3)
    adam = Adam(3)
    adam.step(values, np.array([4.0, -0.01, 0.0]), 0.5)
    np.testing.assert_allclose(values, [-0.5, 0.5, 0.0], rtol=1e-6)
    adam.step(values, np.array([2.0, -0.01, 0.0]), 0.5)
    first = (0.9 * 0.4 + 0.1 * 2) / (1 - 0.9**2)
    second = (0.99 * 0.16 + 0.01 * 4) / (1 - 0.99**2)
    np.testing.assert_allclose(values, [-0.5 - 0.5 * first / second**0.5, 1.0, 0.0], rtol=1e-6)


def test_rate() -> None:
    schedule = Schedule(steps=100, batch=1, learning_rate=2.0, seed=0)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:2] == [0.2, 0.4] and max(rates) == rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.01
    assert Schedule(1, 1, 2.0, 0).rate(0) == 2.0
    assert [step for step in range(8) if Schedule(7, 1, 1.0, 0).is_checked(step)] == list(range(8))


def test_every_window_comes_once_before_any_comes_again() -> None:
    supply = batches(7, 3, seed=1)
    order = [number for _ in range(7) for number in next(supply)]
    for start in (0, 7, 14):
        assert sorted(order[start : start + 7]) == list(range(7))
    assert order[:7] != order[7:14]
