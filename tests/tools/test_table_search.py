"""The search for tables: one round makes a random table better, and the same seed finds the same."""

from __future__ import annotations

import numpy as np
import pytest

from rbe_edge.codes import trellis
from tools import table_search


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_windows_give_back_the_values(bits: int) -> None:
    weights = table_search.sample(8, seed=2)
    book = trellis.CODEBOOKS[bits]
    w, row_scales, error = table_search.encode(weights, book)
    values = np.array(book.t1)[(w ^ (w >> 8)) & 15] + np.array(book.t2)[(w >> 4) & 15]
    left = ((weights - row_scales[:, None] * values) ** 2).sum() / (weights.astype(np.float64) ** 2).sum()
    assert left == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("bits", [2, 4])
def test_rounds_improve_a_random_table(bits: int) -> None:
    weights = table_search.sample(16, seed=3)
    tables = table_search.start(np.random.default_rng(4))
    before = table_search.improve(bits, tables, weights, iterations=1)
    after = table_search.improve(bits, tables, weights, iterations=4)
    assert after.error < 0.995 * before.error
    for book in (before.book, after.book):
        assert 125 <= np.abs(np.add.outer(book.t1, book.t2)).max() <= 127
        assert book.step > 0


def test_the_same_seed_finds_the_same() -> None:
    first = list(table_search.search(4, restarts=2, iterations=2, columns=8, seed=5))
    assert first == list(table_search.search(4, restarts=2, iterations=2, columns=8, seed=5))
    assert len(first) >= 2 and first[-1].book != trellis.CODEBOOKS[4]
