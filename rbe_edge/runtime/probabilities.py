"""From logits to probabilities."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Natural log-probabilities of float32 [n][vocabulary], in place; sums of a row in fp64."""
    exponentials = np.empty(logits.shape[1:], np.float32)
    for row in logits:  # one at a time stays in the processor's caches
        row -= row.max()
        np.exp(row, out=exponentials)
        row -= np.float32(np.log(exponentials.sum(dtype=np.float64)))
    return logits


def divergences(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """KL(expected || found) of each row, in nats, of log-probabilities float32 [n][vocabulary]; sums in fp64."""
    each: npt.NDArray[np.float64] = (np.exp(expected) * (expected - found)).sum(axis=1, dtype=np.float64)
    return each


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Of the mean of the values; 0 of one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


class Likely:
    """The probabilities [vocabulary] of one row that are worth keeping: those of the 8192 likeliest tokens that are not
    less likely than 1e-6. All others count as one token, so a divergence from it is a little below that of all tokens
    (log sum inequality)."""

    _LEAST, _MOST = 1e-6, 8192

    def __init__(self, found: npt.NDArray[np.float32]) -> None:
        """found: log-probabilities."""
        tokens = np.flatnonzero(found >= math.log(self._LEAST)).astype(np.int32)
        if len(tokens) > self._MOST:
            tokens = tokens[np.argpartition(found[tokens], -self._MOST)[-self._MOST :]]
        self._tokens = tokens
        kept = found[self._tokens].astype(np.float64)
        self._shares = np.exp(kept)
        self._rest = max(0.0, 1.0 - float(self._shares.sum()))
        self._nats = float(self._shares @ kept) + _of_itself(self._rest)
        self.first = int(found.argmax())  # the likeliest

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self._tokens.nbytes + self._shares.nbytes

    def divergence(self, found: npt.NDArray[np.float32]) -> float:
        """KL(this || found) in nats, of log-probabilities [vocabulary]."""
        kept = found[self._tokens].astype(np.float64)
        rest = max(1.0 - float(np.exp(kept).sum()), 1e-12)
        return self._nats - float(self._shares @ kept) - self._rest * math.log(rest)


def _of_itself(share: float) -> float:
    return share * math.log(share) if share > 0.0 else 0.0
