"""Small systems of equations, beside LAPACK's."""

from __future__ import annotations

import numpy as np
import pytest

from rbe_edge.codes.small_systems import solve


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_solves_what_lapack_solves(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(20):
        root, right = rng.standard_normal((n + 3, n)), rng.standard_normal(n)
        matrix = root.T @ root
        np.testing.assert_allclose(solve(matrix, right), np.linalg.solve(matrix, right), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_unknowns_that_others_say_are_zero(rank: int) -> None:
    rng = np.random.default_rng(rank)
    root = rng.standard_normal((rank, 6))
    matrix, right = root.T @ root, root.T @ rng.standard_normal(rank)
    found = solve(matrix, right, 1e-9)
    np.testing.assert_allclose(matrix @ found, right, atol=1e-9)  # a solution
    assert np.count_nonzero(found) <= rank
