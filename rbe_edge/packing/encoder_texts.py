"""What an encoder is calibrated and measured on: whole texts, each begun and ended as the tokenizer does it.

A model that makes one vector of a text gets single sentences: those of MiniLM lose less then, also of passages, than
with half of the tokens in passages (docs/encoders.md). One that gives something for each token gets half of its tokens
in passages, which are what it was trained on. Texts are taken from all over the calibration text, in an order that does
not depend on it, so that those that calibrate, those on which matrices are measured and those held out differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rbe_edge.errors import PackError
from rbe_edge.packing.calibration import MIN_TOKENS
from rbe_edge.packing.effort import Effort, Windows
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

ENCODER_TEXTS = "sentences, or half passages of 800"
"""What is kept of packings depends on it."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
_PASSAGE = 800  # characters, about
_LEAST = 4  # tokens, special ones included
_STEP = 2654435761  # of a hash that spreads numbers (Knuth)


def is_encoder(model: Model) -> bool:
    """Whether its tokens see those behind them."""
    return model.encoder_info.is_encoder


def sentences(text: str) -> list[str]:
    """Sentences of a text; what stands on several lines is several."""
    lines = (line.strip() for line in text.splitlines())
    return [part for line in lines if line for part in _SENTENCE_ENDS.split(line) if part.strip()]


def passages(text: str) -> list[str]:
    """Paragraphs, and several lines in one where they are short."""
    found: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if found and len(found[-1]) + len(line) < _PASSAGE:
            found[-1] = f"{found[-1]} {line}" if line else found[-1]
        elif line:
            found.append(line)
    return found


def _spread(texts: Sequence[str]) -> list[str]:
    return [texts[number] for number in sorted(range(len(texts)), key=lambda number: (number + 1) * _STEP % 2**32)]


def _read(model: Model, text: str) -> list[int]:
    """A text complete with special tokens; one that is too long keeps the last of them."""
    tokens = model.tokenize(text, special=True)
    most = min(model.info.context, MAX_PASS_TOKENS)
    return tokens if len(tokens) <= most else [*tokens[: most - 1], tokens[-1]]


def texts_of(model: Model, text: str) -> tuple[list[list[int]], list[list[int]]]:
    """Sentences and passages of a text as tokens, each spread."""
    kinds = (sentences(text), passages(text))
    read = [[tokens for one in _spread(kind) if len(tokens := _read(model, one)) >= _LEAST] for kind in kinds]
    return read[0], read[1]


def _first(texts: Sequence[list[int]], n_tokens: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Those with the first n_tokens together, but at most half of the tokens, and the others."""
    total, taken = sum(map(len, texts)), 0
    for number, text in enumerate(texts):
        if taken >= min(n_tokens, total / 2):
            return list(texts[:number]), list(texts[number:])
        taken += len(text)
    return list(texts), []


def encoder_windows(model: Model, text: str, effort: Effort) -> Windows:
    """Texts that calibrate, and others. Raises PackError where there is too little text."""
    short, long = texts_of(model, text)
    n_tokens = sum(map(len, short))
    if n_tokens < MIN_TOKENS:
        raise PackError(f"the calibration text has {n_tokens} tokens; give one of at least {MIN_TOKENS}, or none")
    if model.encoder_info.pooling is not None:
        seen, unseen = _first(short, effort.tokens)
        return Windows(seen, unseen or seen)
    seen, unseen = _first(short, effort.tokens // 2)
    seen_long, unseen_long = _first(long, effort.tokens // 2)
    return Windows(seen + seen_long, [*_mixed(unseen, unseen_long)] or seen)


def _mixed(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Of both in turn, as long as there are both."""
    pairs = [text for pair in zip(one, other, strict=False) for text in pair]
    n = min(len(one), len(other))
    return [*pairs, *one[n:], *other[n:]]
