"""A short list of models to begin with (curated.json): what they are, where they come from, under which licence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Offer:
    """A model of the hub. name: what it is called here. architecture: its model_type. what: for a person. licence: by
    SPDX; LicenseRef-X is one of X's own. gated: the hub wants it accepted first. parameters: weights. layers to
    context: its shape, as its configuration says. tied: the embedding is the head too. source: where all of this is
    published."""

    name: str
    repository: str
    architecture: str
    what: str
    licence: str
    gated: bool
    parameters: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool
    source: str

    def file_bytes(self, bits: float) -> int:
        """Of the packed file, with so many bits per weight of it."""
        return round(self.parameters * bits / 8)


@cache
def offers() -> tuple[Offer, ...]:
    """The list, smallest first."""
    known = json.loads(Path(__file__).with_name("curated.json").read_text(encoding="utf-8"))
    return tuple(sorted((Offer(**entry) for entry in known["models"]), key=lambda offer: offer.parameters))


def named(name: str) -> Offer | None:
    """The one of that name, in any case of its letters."""
    return next((offer for offer in offers() if offer.name == name.lower()), None)


def of_repository(repository: str) -> Offer | None:
    return next((offer for offer in offers() if offer.repository.lower() == repository.lower()), None)


def names() -> tuple[str, ...]:
    return tuple(offer.name for offer in offers())
