"""seed64: formula, gradient, fit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import reference_decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.codes import seed64


def test_a_known_seed_gives_known_weights() -> None:
    """Worked out from the formula with atanh and tanh, as it is written."""
    fields = (127, 63, 0, 0, 0, 128, 0, 0)  # radius 127.5 / 256, depth 1, nothing moves, theta a quarter turn
    assert seed64.unpack_fields(seed64.pack_fields(fields)) == fields
    r = 127.5 / 256
    expected = 3 * np.tanh(2 * np.arctanh(r))
    np.testing.assert_allclose(seed64.weights(seed64.pack_fields(fields), 3.0, 2, 3), np.full((2, 3), expected), 1e-7)
    values = seed64.weights(0x0123456789ABCDEF, 1.5, 3, 4)
    expected = reference_decoder.seed64_values(struct.pack("<Qf", 0x0123456789ABCDEF, 1.5), 3, 4)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-7)
    assert values[0, 0] == pytest.approx(0.0141824, abs=1e-6)  # stays so: files depend on it


@given(st.integers(0, 2**64 - 1))
def test_every_number_is_a_seed(seed: int) -> None:
    assert seed64.pack_fields(seed64.unpack_fields(seed)) == seed
    values = seed64.weights(seed, 1.0, 5, 3)
    assert np.isfinite(values).all() and np.abs(values).max() < 1


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=40)
def test_the_gradient_is_that_of_finite_differences(seed: int) -> None:
    u, v = seed64.coordinates(7, 6)
    values = seed64.parameters(seed)
    weights, derivatives = seed64.gradient(values, 0.7, u, v)
    np.testing.assert_allclose(weights, 0.7 * seed64.field_of(values, u, v), atol=1e-12)
    np.testing.assert_allclose(derivatives[0], seed64.field_of(values, u, v), atol=1e-12)
    step = 1e-6
    for place in range(8):
        ahead, behind = values.copy(), values.copy()
        ahead[place] += step
        behind[place] -= step
        slope = 0.7 * (seed64.field_of(ahead, u, v) - seed64.field_of(behind, u, v)) / (2 * step)
        np.testing.assert_allclose(derivatives[1 + place], slope, atol=1e-6)


def test_a_seed_is_found_again() -> None:
    fields = (200, 40, 30, -9, 12, 400, 50, -33)
    matrix = seed64.weights(seed64.pack_fields(fields), 0.7, 96, 64)
    found = seed64.fit(matrix)
    assert found is not None and found.error < 1e-6
    assert np.abs(seed64.weights(found.seed, found.scale, 96, 64) - matrix).max() < 1e-6
    assert seed64.fit(matrix) == found


def test_noise_has_no_seed() -> None:
    assert seed64.fit(np.random.default_rng(1).standard_normal((64, 48)), hopeless=0.9) is None
    found = seed64.fit(np.random.default_rng(1).standard_normal((64, 48)), starts=8)
    assert found is not None and 0.9 < found.error < 1
