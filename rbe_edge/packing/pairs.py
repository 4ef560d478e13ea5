"""What an encoder-decoder is calibrated and measured on: pairs of a text and its answer.

A calibration text whose lines have one tab each holds pairs: what is before the tab is read by the encoder, what is
behind it is the answer. Any other text is cut into windows of which the encoder reads the first half, and the second
half is the answer: what the model was made for, most files of text do not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.packing.calibration import MIN_TOKENS
from rbe_edge.packing.effort import KEPT_BACK, Effort
from rbe_edge.packing.held_out import built_in_text
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

HALF = 96
"""Tokens of each half of a window."""

_STEP = 2654435761  # of a hash that spreads numbers (Knuth)
_MOST_HELD_OUT = 256  # tokens of answers


@dataclass(frozen=True)
class Pair:
    """text: tokens for the encoder, complete with special ones. answer: from the start token on."""

    text: Sequence[int]
    answer: Sequence[int]

    def __len__(self) -> int:
        return len(self.text) + len(self.answer)


@dataclass(frozen=True)
class Pairs:
    """seen: what statistics are of. unseen: on which matrices are measured. held_out: on which the file is measured.
    Where there are few pairs they are the same. source: of those held out, for a person."""

    seen: list[Pair]
    unseen: list[Pair]
    held_out: list[Pair]
    source: str


def read_pairs(path: Path, text: str, effort: Effort) -> Pairs:
    """path: of a model. Raises PackError where there is too little text."""
    with Model.open(path, verify=False) as model:
        found = _pairs_of(model, text)
        n_tokens = sum(map(len, found))
        if n_tokens < MIN_TOKENS:
            raise PackError(f"the calibration text has {n_tokens} tokens; give one of at least {MIN_TOKENS}, or none")
        spread = [found[at] for at in sorted(range(len(found)), key=lambda at: (at + 1) * _STEP % 2**32)]
        held_out, rest = _first(spread, min(_MOST_HELD_OUT, n_tokens // KEPT_BACK))
        unseen, seen = _first(rest, n_tokens // KEPT_BACK)
        source = "the calibration text"
        if not seen or not unseen:
            seen, unseen = spread, spread
            held_out, source = _pairs_of(model, built_in_text())[:4], "a built-in text"
    return Pairs(_first(seen, effort.tokens)[0], unseen, held_out, source)


def _first(pairs: Sequence[Pair], n_tokens: int) -> tuple[list[Pair], list[Pair]]:
    """Those with the first n_tokens together, and the others."""
    taken = 0
    for number, pair in enumerate(pairs):
        if taken >= n_tokens:
            return list(pairs[:number]), list(pairs[number:])
        taken += len(pair)
    return list(pairs), []


def _pairs_of(model: Model, text: str) -> list[Pair]:
    kind = model.encoder_decoder
    assert kind is not None
    lines = [line for line in text.splitlines() if line.strip()]
    most = min(model.info.context, MAX_PASS_TOKENS)
    if lines and all(line.count("\t") == 1 for line in lines):
        return [_pair(model, kind.start, line, most) for line in lines]
    tokens, end = model.tokenize(text, special=False), model.tokenize("", special=True)
    size = min(HALF, most - len(end), most - 1)
    return [
        Pair([*tokens[at : at + size], *end], [kind.start, *tokens[at + size : at + 2 * size]])
        for at in range(0, len(tokens) - size, 2 * size)
    ]


def _pair(model: Model, start: int, line: str, most: int) -> Pair:
    """Cut where it is too long, with the last special token kept."""
    text, answer = line.split("\t")
    read, wanted = model.tokenize(text), model.tokenize(answer)
    read = read if len(read) <= most else [*read[: most - 1], read[-1]]
    return Pair(read, [start, *wanted][:most])
