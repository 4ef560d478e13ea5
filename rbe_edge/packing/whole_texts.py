"""Texts, or pairs of texts, as packing takes them from a calibration text: whole, from all over it, and divided into
those that calibrate and those that are held out."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TypeVar

from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS

_Any = TypeVar("_Any")
_Tokens = TypeVar("_Tokens", bound=Sized)

_STEP = 2654435761  # of a hash that spreads numbers (Knuth)


def most_tokens(model: Model) -> int:
    """That a model reads at once."""
    return min(model.info.context, MAX_PASS_TOKENS)


def whole(model: Model, text: str) -> list[int]:
    """A text complete with special tokens; one that is too long keeps the last of them."""
    tokens, most = model.tokenize(text, special=True), most_tokens(model)
    return tokens if len(tokens) <= most else [*tokens[: most - 1], tokens[-1]]


def spread(items: Sequence[_Any]) -> list[_Any]:
    """In an order that depends on nothing but their number."""
    return [items[at] for at in sorted(range(len(items)), key=lambda at: (at + 1) * _STEP % 2**32)]


def first(items: Sequence[_Tokens], n_tokens: float) -> tuple[list[_Tokens], list[_Tokens]]:
    """Those with the first n_tokens together, and the others."""
    taken = 0
    for number, item in enumerate(items):
        if taken >= n_tokens:
            return list(items[:number]), list(items[number:])
        taken += len(item)
    return list(items), []
