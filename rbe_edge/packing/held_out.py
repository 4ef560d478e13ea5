"""What a packing cost, measured on text that it has not seen: the KL divergence of the file from its source.

The text is what stands in the calibration text behind the tokens that calibrate, and where there is too little of it
one that comes with the package (held_out.txt). The source runs first, from the copy with dense weights, before matrices
in it are replaced; its predictions are kept in half precision, in 64 MB at most. Time: two passes over 256 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.calibration import tokens_of
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import divergences, log_softmax, standard_error
from rbe_edge.runtime.text_windows import beginning

N_TOKENS = 256
_KEPT_BYTES = 64 << 20
_PIECE_BYTES = 32 << 20  # of logits at a time
_LEAST = 2


@dataclass(frozen=True)
class HeldOutKl:
    """kl: nats per token. error: its standard error over tokens. n: that were scored. text: where they are from.
    of: what was scored."""

    kl: float
    error: float
    n: int
    text: str
    of: str = "tokens"


class HeldOut:
    """A source's predictions on held-out text. For one thread."""

    def __init__(self, dense: Path, text: str | Sequence[int], calibrating: int, threads: int | None = None) -> None:
        """dense: the source with dense weights. text: that calibrates, or its tokens, of which the first `calibrating`
        are used for that."""
        self._threads = threads or 0
        with Model.open(dense, verify=False) as model:
            vocabulary = model.info.vocabulary
            most = min(N_TOKENS, model.info.context, max(_LEAST, _KEPT_BYTES // (2 * vocabulary)))
            begin = beginning(model)
            tokens, self._text = tokens_of(model, text)[calibrating:], "the calibration text"
            if len(tokens) < most - len(begin):
                tokens, self._text = model.tokenize(built_in_text(), special=False), "a built-in text"
            self._tokens: Sequence[int] = [*begin, *tokens][:most]
            self._expected = np.empty((len(self._tokens), vocabulary), np.float16)
            for start, found in self._pieces(model):
                self._expected[start : start + len(found)] = found

    def of(self, packed: Path) -> HeldOutKl:
        """The divergence of a file that was packed from the source."""
        each: list[npt.NDArray[np.float64]] = []
        with Model.open(packed, verify=False) as model:
            for start, found in self._pieces(model):
                expected = self._expected[start : start + len(found)].astype(np.float32)
                each.append(divergences(expected, found))
        values = np.concatenate(each)
        return HeldOutKl(max(0.0, float(values.mean())), standard_error(values), len(values), self._text)

    def _pieces(self, model: Model) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Log-probabilities [n][vocabulary] after every token, in pieces, and where each begins."""
        size = max(1, _PIECE_BYTES // (4 * model.info.vocabulary))
        with model.session(context=len(self._tokens), threads=self._threads) as session:
            for start in range(0, len(self._tokens), size):
                logits = session.score(self._tokens[start : start + size], logits=True).logits
                assert logits is not None
                yield start, log_softmax(logits)


def built_in_text() -> str:
    return (Path(__file__).parent / "held_out.txt").read_text(encoding="utf-8")
