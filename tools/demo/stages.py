"""The training stages of the shipped demo model, in order; each draws dialogues of its own seed."""

from __future__ import annotations

from dataclasses import dataclass

BITS = 4


@dataclass(frozen=True)
class Stage:
    seed: int
    dialogues: int
    tokens: float  # to train on
    rate: float  # peak learning rate


STAGES = (
    Stage(seed=20261121, dialogues=80_000, tokens=8.5e6, rate=2.5e-3),
    Stage(seed=20261122, dialogues=40_000, tokens=4e6, rate=1.5e-3),
)
