"""What the packing of an encoder-decoder cost, measured on pairs that it has not seen: the KL divergence of the file's
answers from its source's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.held_out import HeldOutKl
from rbe_edge.packing.pairs import Pair, Pairs
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import divergences, log_softmax, standard_error

FloatArray = npt.NDArray[np.float32]

_KEPT_BYTES = 64 << 20


class PairHeldOut:
    """A source's predictions of answers, kept in half precision, in 64 MB at most. For one thread."""

    def __init__(self, dense: Model, pairs: Pairs, threads: int | None = None) -> None:
        """dense: the source with dense weights, asked here alone."""
        self._threads = threads or 0
        self._source = pairs.source
        self._pairs = _fitting(pairs.held_out, _KEPT_BYTES // (2 * dense.info.vocabulary))
        self._expected = [found.astype(np.float16) for found in self._said(dense)]

    def of(self, packed: Path) -> HeldOutKl:
        """The divergence of a file that was packed from the source."""
        with Model.open(packed, verify=False) as model:
            found = zip(self._expected, self._said(model), strict=True)
            values = np.concatenate([divergences(one.astype(np.float32), other) for one, other in found])
        mean = max(0.0, float(values.mean()))
        return HeldOutKl(mean, standard_error(values), len(values), self._source, "tokens of answers")

    def _said(self, model: Model) -> Iterator[FloatArray]:
        """Log-probabilities [tokens][vocabulary] of each answer."""
        longest = max(max(len(pair.text), len(pair.answer)) for pair in self._pairs)
        with model.session(context=longest, threads=self._threads) as session:
            for pair in self._pairs:
                session.encode(pair.text)
                logits = session.score(pair.answer, logits=True).logits
                assert logits is not None
                yield log_softmax(logits)


def _fitting(pairs: Sequence[Pair], n_tokens: int) -> list[Pair]:
    """Of so many tokens of answers, and one pair at least, of which as much as fits."""
    chosen: list[Pair] = []
    for pair in pairs:
        if sum(len(one.answer) for one in chosen) + len(pair.answer) > n_tokens:
            break
        chosen.append(pair)
    return chosen or [Pair(pairs[0].text, pairs[0].answer[: max(2, n_tokens)])]
