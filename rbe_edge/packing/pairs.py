"""What an encoder-decoder is calibrated and measured on: pairs of a text and its answer.

A calibration text whose lines have one tab each holds pairs: what is before the tab is read by the encoder, what is
behind it is the answer. Any other text is cut into windows of which the encoder reads the first half, and the second
half is the answer: what the model was made for, most files of text do not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rbe_edge.packing.calibration import check_length
from rbe_edge.packing.effort import KEPT_BACK, Effort
from rbe_edge.packing.held_out import built_in_text
from rbe_edge.packing.whole_texts import first, most_tokens, spread, whole
from rbe_edge.runtime.model import Model

HALF = 96
"""Tokens of each half of a window."""

_MOST_HELD_OUT = 256  # tokens of answers


@dataclass(frozen=True)
class Pair:
    """text: tokens for the encoder, complete with special ones. answer: from the start token on; the end that is to
    be predicted behind its last token is left out, for nothing is asked behind the end."""

    text: Sequence[int]
    answer: Sequence[int]

    def __len__(self) -> int:
        return len(self.text) + len(self.answer)


@dataclass(frozen=True)
class Pairs:
    """seen: what statistics are of; where there are few, each several times. held_out: on which the file is measured.
    source: of those, for a person."""

    seen: list[Pair]
    held_out: list[Pair]
    source: str


def read_pairs(model: Model, text: str, effort: Effort) -> Pairs:
    """model: an encoder-decoder. Raises PackError where there is too little text."""
    found = _pairs_of(model, text)
    n_tokens = sum(map(len, found))
    check_length(n_tokens)
    everything = spread(found)
    held_out, seen = first(everything, min(_MOST_HELD_OUT, n_tokens // KEPT_BACK))
    source = "the calibration text"
    if not seen:
        seen = everything
        held_out, source = _pairs_of(model, built_in_text())[:4], "a built-in text"
    times = -(-effort.tokens // sum(map(len, seen)))  # labels are drawn anew for a pair that comes again
    return Pairs(first(seen * times, effort.tokens)[0], held_out, source)


def _pairs_of(model: Model, text: str) -> list[Pair]:
    kind = model.encoder_decoder
    assert kind is not None
    lines = [line for line in text.splitlines() if line.strip()]
    most = most_tokens(model)
    if lines and all(line.count("\t") == 1 for line in lines):
        return [_pair(model, kind.start, line, most) for line in lines]
    tokens, end = model.tokenize(text, special=False), model.tokenize("", special=True)
    size = min(HALF, most - len(end), most - 1)
    return [
        Pair([*tokens[at : at + size], *end], [kind.start, *tokens[at + size : at + 2 * size]])
        for at in range(0, len(tokens) - size, 2 * size)
    ]


def _pair(model: Model, start: int, line: str, most: int) -> Pair:
    text, answer = line.split("\t")
    return Pair(whole(model, text), [start, *model.tokenize(answer, special=False)][:most])
