"""Linear equations of a few unknowns, in one order of operations: LAPACK's depends on the processor."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def solve(matrix: Floats, right: Floats, least: float = 0.0) -> Floats:
    """A solution of matrix x = right for a symmetric, positive semidefinite float64 [n][n], by Cholesky's method with
    pivots. Unknowns whose pivot is at most `least` times the first one are 0: those that the others already say."""
    n = len(right)
    a, b = matrix.tolist(), right.tolist()
    order: list[int] = []
    factor: list[list[float]] = []  # row k: of the k-th unknown taken, by number of unknown
    left = [a[i][i] for i in range(n)]
    enough = least * max(left)
    for _ in range(n):
        pivot = max((i for i in range(n) if i not in order), key=lambda i: left[i])
        if not left[pivot] > enough:
            break
        root = math.sqrt(left[pivot])
        order.append(pivot)
        row = [0.0] * n
        for i in range(n):
            if i == pivot:
                row[i] = root
            elif i not in order:
                row[i] = (a[pivot][i] - sum(done[pivot] * done[i] for done in factor)) / root
                left[i] -= row[i] * row[i]
        factor.append(row)
    forward: list[float] = []
    for k, unknown in enumerate(order):
        known = sum(factor[j][unknown] * forward[j] for j in range(k))
        forward.append((b[unknown] - known) / factor[k][unknown])
    found = np.zeros(n)
    for k in reversed(range(len(order))):
        behind = sum(factor[k][other] * float(found[other]) for other in order[k + 1 :])
        found[order[k]] = (forward[k] - behind) / factor[k][order[k]]
    return found
