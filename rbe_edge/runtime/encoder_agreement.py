"""How far two encoders agree on the same texts, such as a model and its packing: by what they give in the end.

That is scores of classes, pooled vectors, words for masked places, or hidden states, whichever a model has first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.encoder import Encoder
from rbe_edge.runtime.encoder_tasks import mask_token
from rbe_edge.runtime.engine_model import EngineModel
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import divergences, log_softmax

FloatArray = npt.NDArray[np.float32]

MASKED_EVERY = 7
"""Of so many tokens one is masked: about the share of BERT's training."""


@dataclass(frozen=True)
class Agreement:
    """each: of every thing compared, KL divergence in nats where is_kl, else one minus the cosine. of: what was
    compared, for people."""

    each: npt.NDArray[np.float64]
    is_kl: bool
    of: str


@dataclass(frozen=True)
class EncoderOutputs:
    """rows: float32 [n][numbers], one for each thing that is compared."""

    rows: FloatArray
    of: str

    def agreement(self, other: EncoderOutputs) -> Agreement:
        """Of another model on the same texts. Raises OptionError for one that gives other things."""
        if self.of != other.of or self.rows.shape != other.rows.shape:
            raise OptionError("the two models give different things for a text; compare a model with its source")
        if self.of in (_CLASSES, _WORDS):
            each = np.maximum(divergences(_log_probabilities(self.rows), _log_probabilities(other.rows)), 0.0)
            return Agreement(each, True, self.of)
        return Agreement(cosine_distances(self.rows, other.rows), False, self.of)


_CLASSES, _WORDS, _VECTORS, _STATES = "texts", "masked words", "pooled vectors", "hidden states"


def cosine_distances(one: FloatArray, other: FloatArray) -> npt.NDArray[np.float64]:
    """One minus the cosine of each two rows of float32 [n][width]; 0 or more."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    apart = 1 - np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-30)
    return np.asarray(np.maximum(apart, 0.0), np.float64)


def encoder_outputs(
    model: Model,
    texts: Sequence[Sequence[int]],
    *,
    threads: int = 0,
    planes: int = 0,
    most_words: int = 256,
    progress: Report | None = None,
) -> EncoderOutputs:
    """What a model gives for texts, which are tokens complete with special tokens. threads, planes: as of an encoder.
    most_words: that are masked, in all texts together. progress counts tokens, or masked texts. Raises as
    Encoder.pooled()."""
    info = model.encoder_info
    with model.encoder(threads=threads, planes=planes) as encoder:
        if info.pooling is not None:
            rows = encoder.pooled(texts, progress=progress)
            return EncoderOutputs(rows, _CLASSES if info.is_classes else _VECTORS)
        if info.has_word_head and (mask := _mask(model)) is not None:
            words = list(_words(encoder, texts, mask, most_words, progress))
            if words:
                return EncoderOutputs(np.concatenate(words), _WORDS)
        return EncoderOutputs(np.concatenate(encoder.hidden(texts, progress=progress)), _STATES)


def _mask(model: EngineModel) -> int | None:
    """None for a tokenizer that has no token for a gap."""
    try:
        return mask_token(model)[1]
    except OptionError:
        return None


def _words(
    encoder: Encoder, texts: Sequence[Sequence[int]], mask: int, most: int, progress: Report | None
) -> Iterator[FloatArray]:
    """Logits of masked places, text by text."""
    n = 0
    for number, text in enumerate(texts, 1):
        places = list(range(MASKED_EVERY // 2, len(text) - 1, MASKED_EVERY))
        if not places or n + len(places) > most:
            continue
        n += len(places)
        masked = [mask if at in places else token for at, token in enumerate(text)]
        yield encoder.word_logits(masked, places)
        if progress is not None:
            progress(number, len(texts))


def _log_probabilities(scores: FloatArray) -> FloatArray:
    """Of logits; one score is that of the first of two classes."""
    if scores.shape[1] == 1:
        scores = np.concatenate([scores, np.zeros_like(scores)], axis=1)
    return log_softmax(scores.copy())
