"""How many of a number of answers are right, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A mean over n answers, and its standard error: the deviation of the sample (by n - 1) over the square root of n,
    0 for a single answer."""

    value: float
    error: float
    n: int


def share(right: Sequence[bool]) -> Share:
    """The share of right answers, 0 to 1, of one or more."""
    return _mean([float(one) for one in right])


def difference(packed: Sequence[bool], source: Sequence[bool]) -> Share:
    """The share of `packed` less that of `source`, -1 to 1, on the same questions. Its error is that of the differences
    question by question: what both find easy or hard counts for neither, so it is far smaller than those of the
    shares."""
    return _mean([float(one) - float(other) for one, other in zip(packed, source, strict=True)])


def _mean(values: Sequence[float]) -> Share:
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.fsum((value - mean) ** 2 for value in values)
    return Share(mean, math.sqrt(spread / (n - 1) / n) if n > 1 else 0.0, n)
