"""What an encoder is calibrated and measured on: whole texts, each begun and ended as the tokenizer does it.

A model that makes one vector of a text gets single sentences, as it reads most (docs/encoders.md). One that gives
something for each token gets half of its tokens in passages, which are what it was trained on. Texts are taken from all
over the calibration text, in an order that does not depend on it, so that those that calibrate and those that are held
out differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rbe_edge.packing.calibration import check_length
from rbe_edge.packing.effort import Effort, Windows
from rbe_edge.packing.whole_texts import first, spread, whole
from rbe_edge.runtime.model import Model

ENCODER_TEXTS = "sentences, or half passages of 800, in full"
"""What is kept of packings depends on it."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
_PASSAGE = 800  # characters, about
_LEAST = 4  # tokens, special ones included


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


def texts_of(model: Model, text: str) -> tuple[list[list[int]], list[list[int]]]:
    """Sentences and passages of a text as tokens, each spread."""
    kinds = (sentences(text), passages(text))
    read = [[tokens for one in spread(kind) if len(tokens := whole(model, one)) >= _LEAST] for kind in kinds]
    return read[0], read[1]


def _divided(texts: Sequence[Sequence[int]], n_tokens: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Those with the first n_tokens together, but at most half of the tokens, and the others."""
    return first(texts, min(n_tokens, sum(map(len, texts)) / 2))


def encoder_windows(model: Model, text: str, effort: Effort) -> Windows:
    """Texts that calibrate, and the others, on which the file is measured. Raises PackError where there is too little
    text."""
    short, long = texts_of(model, text)
    check_length(sum(map(len, short)))
    each = effort.tokens // 2 if effort.quick else effort.tokens
    if model.encoder_info.pooling is not None:
        return Windows(*_divided(short, 2 * each))
    seen, unseen = _divided(short, each)
    seen_long, unseen_long = _divided(long, each)
    return Windows(seen + seen_long, _mixed(unseen, unseen_long))


def _mixed(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Of both in turn, as long as there are both."""
    pairs = [text for pair in zip(one, other, strict=False) for text in pair]
    n = min(len(one), len(other))
    return [*pairs, *one[n:], *other[n:]]
