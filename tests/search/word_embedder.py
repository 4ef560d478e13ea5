"""A test double of a sentence encoder: a text is the sum of directions that its words were dealt by their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rbe_edge.progress import Report

WIDTH = 64


class WordEmbedder:
    """Texts that share words are near each other. texts: all that were embedded."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def count(self, text: str) -> int:
        return len(text.split())

    def vectors(self, texts: Sequence[str], progress: Report | None = None) -> Any:
        for place in range(len(texts)):
            if progress is not None:
                progress(place, len(texts))
        self.texts += texts
        rows = np.stack([sum((_direction(word) for word in words(text)), np.full(WIDTH, 1e-3)) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _direction(word: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=WIDTH)
