"""What encoders are compared on: texts as tokens, and what a model gives for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tiny_encoders import CLS, MASK, SEP, VOCABULARY, TinyEncoder

from rbe_edge import Model
from rbe_edge.runtime.encoder_texts import TokenText

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "encoders"

FloatArray = npt.NDArray[np.float32]

# Of hidden states, logits and vectors, between fp32 computations in another order; what is measured is about 1e-5.
TOLERANCE = 1e-4

_LENGTHS = (30, 3, 17, 9)  # more than three windows of the tiny models, and the least


@dataclass(frozen=True)
class Outputs:
    """hidden: float32 [tokens of all texts][width]. words: logits [masked places][vocabulary], of none without a head.
    pooled: [texts][numbers], of none without pooling."""

    hidden: FloatArray
    words: FloatArray
    pooled: FloatArray


def texts(encoder: TinyEncoder) -> list[TokenText]:
    """Four texts of other lengths; the last is a pair where the model has segments."""
    found = []
    for number, length in enumerate(_LENGTHS):
        inner = [5 + (31 * i * i + 7 * i + 13 * number) % (VOCABULARY - 5) for i in range(length - 2)]
        tokens = [CLS, *inner, SEP]
        is_pair = length == 9 and encoder.config.get("type_vocab_size", 1) > 1
        if is_pair:
            tokens[4] = SEP
        if length > 3:
            tokens[2] = MASK
        found.append(TokenText(tuple(tokens), 5 if is_pair else length))
    return found


def masked(text: TokenText) -> list[int]:
    return [at for at, token in enumerate(text.tokens) if token == MASK]


def ours(path: Path, encoder: TinyEncoder, pass_tokens: int = 0) -> Outputs:
    """What the engine gives, all texts in one call."""
    given = texts(encoder)
    with Model.open(path) as model, model.encoder(pass_tokens=pass_tokens) as running:
        hidden = np.concatenate(running.hidden(given))
        words, pooled = np.empty((0, VOCABULARY), np.float32), np.empty((len(given), 0), np.float32)
        if model.encoder_info.has_word_head:
            words = np.concatenate([running.word_logits(text, masked(text)) for text in given])
        if model.encoder_info.pooling is not None:
            pooled = running.pooled(given)
    return Outputs(hidden, words, pooled)
