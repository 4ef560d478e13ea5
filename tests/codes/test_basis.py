"""basis: streams, limits, determinism."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import reference_decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.codes import basis
from rbe_edge.errors import PackError
from rbe_edge.packing import smooth_codes


def noise(rows: int, cols: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def relative(found: np.ndarray, values: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - values) / np.linalg.norm(values.astype(np.float64)))


@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from((32, 64)), st.sampled_from((32, 256)),
    st.sampled_from((1, 2)), st.floats(0.01, 4), st.integers(0, 2**32 - 1),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_streams_hold_what_was_quantised(
    rows: int, cols: int, block_rows: int, block_cols: int, transform: int, step: float, seed: int
) -> None:
    """Any size, edges of one row or column too: bytes are as many as were counted, and the decoder written from the
    documents gives what decode() does."""
    values = noise(rows, cols, seed)
    shape = basis.Shape(block_rows, block_cols, transform)
    quantised = basis.Analysis(values, shape, 1).quantise(step)
    encoded = quantised.encode()
    assert len(encoded.data) == quantised.n_bytes
    decoded = quantised.decode()
    assert relative(decoded, values) == pytest.approx(quantised.error, abs=1e-6)
    block_rows, block_cols, transform, *orders, stored_step = struct.unpack("<III4Bf", encoded.entry)
    assert stored_step == quantised.step == np.float32(step)
    reference = reference_decoder.basis_values(
        (block_rows, block_cols, transform, tuple(orders), stored_step), encoded.data, rows, cols
    )
    np.testing.assert_allclose(decoded, reference, rtol=1e-6, atol=1e-6 * max(np.abs(reference).max(), 1e-30))


def test_smooth_functions_alone_carry_what_they_are() -> None:
    """A sum of the eight needs no residual."""
    weights = np.array([30.0, -7, 4, 3, -2, 8, 1, 2])
    values = np.einsum("f,fij->ij", weights, basis.functions(64, 64))
    quantised = basis.Analysis(values, basis.Shape(64, 64, basis.COSINES)).quantise(1.0)
    assert quantised.error < 1e-7 and quantised.n_bytes < 16


def test_finer_steps_lose_less_and_threads_change_nothing() -> None:
    values = smooth_codes.smooth_matrix(100, 150)
    shape = basis.Shape(32, 64, basis.COSINES)
    one, many = basis.Analysis(values, shape, 1), basis.Analysis(values, shape, 4)
    errors = []
    for step in (1.0, 0.1, 0.01):
        assert one.quantise(step).encode() == many.quantise(step).encode()
        errors.append(one.quantise(step).error)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 2e-3


def test_limits_are_kept() -> None:
    """Of bytes, of residuals and of errors."""
    values = noise(96, 96)
    analysis = basis.Analysis(values, basis.Shape(32, 32, basis.COSINES))
    for n_bytes in (200, 1000, 5000):
        found = analysis.fit(n_bytes)
        assert found is not None and 0.95 * n_bytes <= found.n_bytes <= n_bytes
    few = analysis.fit(3000, most=4)
    assert few is not None and few.n_bytes <= 3000
    assert all(len(indices) <= 4 for band in few._bands for indices in band.indices)
    close = analysis.fit_error(0.03)
    assert close is not None and 0.02 < close.error <= 0.03
    assert analysis.fit(20) is None
    zero = basis.Analysis(np.zeros((40, 40), np.float32), basis.Shape(32, 32, basis.COSINES)).fit(100)
    assert zero is not None and zero.error == 0 and not zero.decode().any()


def test_shapes_that_do_not_exist() -> None:
    with pytest.raises(PackError, match="sides are 32"):
        basis.Shape(16, 32, basis.COSINES)
    with pytest.raises(PackError, match="transform 3"):
        basis.Shape(32, 32, 3)
