"""Words, n-grams and the test that the held-out prompts share none with the training dialogues."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = Path(__file__).with_name("held_out.json")
N = 5  # words in a shared run that counts as an overlap


def words(text: str) -> tuple[str, ...]:
    """Lower-cased words; apostrophes vanish ("what's" is "whats"), other punctuation separates."""
    return tuple(re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", text.lower())))


def ngrams(sequence: tuple[str, ...], n: int = N) -> set[tuple[str, ...]]:
    return {sequence[i : i + n] for i in range(len(sequence) - n + 1)}


@dataclass(frozen=True)
class Overlap:
    """What training text must not contain: 5-grams of the held-out prompts, and the short prompts whole."""

    grams: frozenset[tuple[str, ...]]
    short: frozenset[tuple[str, ...]]

    @staticmethod
    def of(prompts: Iterable[str]) -> Overlap:
        grams: set[tuple[str, ...]] = set()
        short: set[tuple[str, ...]] = set()
        for prompt in prompts:
            sequence = words(prompt)
            if len(sequence) < N:
                short.add(sequence)
            grams |= ngrams(sequence)
        return Overlap(frozenset(grams), frozenset(short))

    @staticmethod
    def held_out(path: Path = HELD_OUT) -> Overlap:
        prompts = json.loads(path.read_text(encoding="utf-8"))["prompts"]
        return Overlap.of(turn for prompt in prompts for turn in prompt["turns"])

    def hits(self, text: str, *, user: bool) -> bool:
        """True when text (one turn, by the user or not) shares a 5-gram, or as a user turn is a short prompt whole."""
        sequence = words(text)
        if user and sequence in self.short:
            return True
        return not self.grams.isdisjoint(zip(*(sequence[i:] for i in range(N)), strict=False))
