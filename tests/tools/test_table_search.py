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
    encoding = table_search.encode(weights, book)
    w = encoding.windows
    values = np.array(book.t1)[(w ^ (w >> 8)) & 15] + np.array(book.t2)[(w >> 4) & 15]
    left = ((weights - encoding.row_scales[:, None] * values) ** 2).sum() / (weights.astype(np.float64) ** 2).sum()
    assert left == pytest.approx(encoding.error, rel=1e-5)
    assert encoding.error * 0.95 < encoding.cost


@pytest.mark.parametrize(("bits", "limit"), [(2, 126), (4, 126), (3, 31)])
def test_rounds_improve_a_random_table(bits: int, limit: int) -> None:
    weights = table_search.sample(16, seed=3)
    tables = table_search.start(np.random.default_rng(4), limit)
    before = table_search.improve(bits, tables, weights, 1, limit)
    after = table_search.improve(bits, tables, weights, 4, limit)
    assert after.error < 0.995 * before.error
    for book in (before.book, after.book):
        assert limit - 1 <= np.abs(np.add.outer(book.t1, book.t2)).max() <= limit
        assert book.step > 0


def test_the_same_seed_finds_the_same() -> None:
    def found() -> list[table_search.Found]:
        return list(table_search.search(4, 2, 2, columns=8, seed=5, moves=6, largest_sum=31))

    first = found()
    assert first == found()
    assert len(first) >= 3 and first[-1].book != trellis.CODEBOOKS[4]
    assert first[-1].cost <= first[-2].cost  # steps that lose are taken back
    assert np.abs(np.add.outer(first[-1].book.t1, first[-1].book.t2)).max() <= 31
