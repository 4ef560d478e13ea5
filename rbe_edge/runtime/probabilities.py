"""From logits to probabilities."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Natural log-probabilities of float32 [n][vocabulary], in place; sums of a row in fp64."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return logits


def divergences(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """KL(expected || found) of each row, in nats, of log-probabilities float32 [n][vocabulary]; sums in fp64."""
    each: npt.NDArray[np.float64] = (np.exp(expected) * (expected - found)).sum(axis=1, dtype=np.float64)
    return each


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Of the mean of the values; 0 of one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
