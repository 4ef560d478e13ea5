"""What the packing of an encoder cost, measured on texts that it has not seen: how far what it gives is from what its
source gives.

The texts are those of the calibration text that nothing was calibrated or measured on, or where there are too few
sentences that come with the package (held_out.txt). Time: two passes over 64 texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.encoder_sensitivity import cosine_distances
from rbe_edge.packing.encoder_texts import texts_of
from rbe_edge.packing.held_out import HeldOutKl, built_in_text
from rbe_edge.runtime.encoder import Encoder
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import divergences, log_softmax, standard_error

FloatArray = npt.NDArray[np.float32]

N_TEXTS = 64
_MOST_WORDS = 256
_EVERY = 7  # token is masked, about the share of BERT's training


@dataclass(frozen=True)
class HeldOutDistance:
    """distance: one minus the cosine, the mean of n. error: its standard error. of: what was compared. text: where the
    texts are from."""

    distance: float
    error: float
    n: int
    of: str
    text: str


class EncoderHeldOut:
    """What a source gives for held-out texts: scores of classes, pooled vectors, words for masked places, or hidden
    states, whichever it has. For one thread."""

    def __init__(self, dense: Path, unseen: Sequence[Sequence[int]], threads: int | None = None) -> None:
        """dense: the source with dense weights. unseen: texts as tokens, of which the last are taken."""
        self._threads = threads or 0
        with Model.open(dense, verify=False) as model:
            self._texts, self._text = list(unseen)[-N_TEXTS:], "the calibration text"
            if len(unseen) < 2 * N_TEXTS:
                self._texts, self._text = list(texts_of(model, built_in_text())[0]), "a built-in text"
            self._mask = _mask_token(model)
            self._expected = self._outputs(model)

    def of(self, packed: Path) -> HeldOutKl | HeldOutDistance:
        """Of a file that was packed from the source."""
        with Model.open(packed, verify=False) as model:
            found, info = self._outputs(model), model.encoder_info
            has_words = self._masks(model)
        if info.is_classes or has_words:
            each = divergences(_log_probabilities(self._expected), _log_probabilities(found))
            of = "texts" if info.is_classes else "masked words"
            return HeldOutKl(max(0.0, float(each.mean())), standard_error(each), len(each), self._text, of)
        each = cosine_distances(self._expected, found)
        of = "pooled vectors" if info.pooling is not None else "hidden states"
        return HeldOutDistance(max(0.0, float(each.mean())), standard_error(each), len(each), of, self._text)

    def _masks(self, model: Model) -> bool:
        info = model.encoder_info
        return info.pooling is None and info.has_word_head and self._mask is not None

    def _outputs(self, model: Model) -> FloatArray:
        """One row for each thing that is compared."""
        with model.encoder(threads=self._threads) as encoder:
            if model.encoder_info.pooling is not None:
                return encoder.pooled(self._texts)
            if self._masks(model):
                return np.concatenate(list(self._words(encoder)))
            return np.concatenate(encoder.hidden(self._texts))

    def _words(self, encoder: Encoder) -> Iterator[FloatArray]:
        """Logits of masked places, _MOST_WORDS at most."""
        assert self._mask is not None
        n = 0
        for text in self._texts:
            places = list(range(_EVERY // 2, len(text) - 1, _EVERY))
            if not places or n + len(places) > _MOST_WORDS:
                continue
            n += len(places)
            masked = [self._mask if at in places else token for at, token in enumerate(text)]
            yield encoder.word_logits(masked, places)


def _log_probabilities(scores: FloatArray) -> FloatArray:
    """Of logits; one score is that of the first of two classes."""
    if scores.shape[1] == 1:
        scores = np.concatenate([scores, np.zeros_like(scores)], axis=1)
    return log_softmax(scores.copy())


def _mask_token(model: Model) -> int | None:
    """What stands in a gap; None for a tokenizer that has no such token."""
    for name in ("[MASK]", "<mask>"):
        tokens = model.tokenize(name, special=False, parse_special=True)
        if len(tokens) == 1:
            return tokens[0]
    return None
