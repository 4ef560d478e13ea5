"""Scores of answers that are numbers of classes, or values: those of GLUE. Pure NumPy, float64.

scikit-learn (matthews_corrcoef, f1_score) and SciPy (pearsonr, spearmanr) define them; the tests compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def accuracy(given: Sequence[int], right: Sequence[int]) -> float:
    """The share of right classes, 0 to 1, of one or more."""
    return sum(a == b for a, b in zip(given, right, strict=True)) / len(right)


def f1(given: Sequence[int], right: Sequence[int]) -> float:
    """Of class 1: the harmonic mean of precision and recall, 0 to 1; 0 where class 1 is neither given nor right."""
    both = sum(a == b == 1 for a, b in zip(given, right, strict=True))
    either = sum(a == 1 for a in given) + sum(b == 1 for b in right)
    return 2 * both / either if either else 0.0


def matthews(given: Sequence[int], right: Sequence[int]) -> float:
    """Matthews' correlation of two classes or more, -1 to 1; 0 where one side is of one class alone."""
    import numpy as np

    classes = sorted({*given, *right})
    table = np.zeros((len(classes), len(classes)))
    for a, b in zip(given, right, strict=True):
        table[classes.index(b), classes.index(a)] += 1
    n, hits = table.sum(), np.trace(table)
    ours, theirs = table.sum(axis=0), table.sum(axis=1)
    spread = float((n * n - ours @ ours) * (n * n - theirs @ theirs))
    return float((hits * n - ours @ theirs) / spread**0.5) if spread > 0 else 0.0


def pearson(given: Sequence[float], right: Sequence[float]) -> float:
    """Correlation of two rows of values, -1 to 1; 0 where one of them is constant."""
    import numpy as np

    x, y = (np.asarray(values, dtype=np.float64) - np.mean(values) for values in (given, right))
    lengths = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return float(np.clip(x @ y / lengths, -1, 1)) if lengths > 0 else 0.0


def spearman(given: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's correlation of ranks, where equal values share the mean of theirs."""
    return pearson(_ranks(given), _ranks(right))


def _ranks(values: Sequence[float]) -> Any:
    import numpy as np

    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last: npt.NDArray[Any] = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
