"""Joules of a stretch of time, or why they are not known; never an estimate (docs/power.md, "The benchmark")."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rbe_edge.machine.power import Energy, Power

LEAST_COVERED = 0.9
"""Share of the time that the source must have measured; the rest is taken to be alike."""

MOST_ERROR = 0.05
"""Two steps of the source, one at either end, may be so much of the joules."""


_PROMPT_S = 0.002  # a reading that took less is of one moment
_TRIES = 5


@dataclass(frozen=True)
class Mark:
    """What the source said at a time. seconds: of a clock that never goes back."""

    seconds: float
    energy: Energy


@dataclass(frozen=True)
class Joules:
    """Of `seconds` of time. joules: None where they are not known, and `why` says why. resolution_j: the step of the
    source, 0 where it integrates watts. covered: share of the time that it measured. missing: what it leaves out."""

    seconds: float
    joules: float | None = None
    source: str = ""
    covers: str = ""
    missing: str = ""
    resolution_j: float = 0.0
    covered: float = 0.0
    why: str = ""

    @property
    def watts(self) -> float | None:
        return None if self.joules is None or self.seconds <= 0 else self.joules / self.seconds

    def per(self, n_tokens: int) -> float | None:
        """Joules of each of so many tokens."""
        return None if self.joules is None or not n_tokens else self.joules / n_tokens

    def net_per(self, n_tokens: int, idle: Joules | None) -> float | None:
        """The same without what the machine takes when idle, of which a source of the same name must have told."""
        watts = idle.watts if idle is not None and idle.source == self.source else None
        if self.joules is None or watts is None or not n_tokens:
            return None
        return (self.joules - watts * self.seconds) / n_tokens


def mark(power: Power) -> Mark:
    """Where other work came between the clock and the source, it is read again."""
    best, least = None, float("inf")
    for _ in range(_TRIES):
        before = time.monotonic()
        energy = power.energy()
        after = time.monotonic()
        if after - before < least:
            best, least = Mark((before + after) / 2, energy), after - before
        if least < _PROMPT_S:
            break
    assert best is not None
    return best


def between(begin: Mark, end: Mark) -> Joules:
    seconds, first, last = end.seconds - begin.seconds, begin.energy, end.energy
    if first.joules is None or last.joules is None:
        return Joules(seconds, why=last.missing or first.missing or "nothing here measures energy")
    covered = (last.seconds - first.seconds) / seconds if seconds > 0 else 0.0
    joules, step = last.joules - first.joules, max(first.resolution_j, last.resolution_j)
    why = ""
    if first.index != last.index:
        why = f"the source changed from {first.source} to {last.source}"
    elif covered < LEAST_COVERED:
        why = f"{last.source} measured {100 * max(0.0, covered):.0f} % of the time"
    elif joules <= 0:
        why = f"{last.source} did not move in {seconds:.1f} s"
    elif 2 * step > MOST_ERROR * joules:
        longer = seconds * 2 * step / (MOST_ERROR * joules)
        why = f"{last.source} counts in steps of {step:g} J, too coarse for {joules:.3g} J; {longer:.0f} s would do"
    # A source that is read 10 times a second stops a little before the end, so its watts count, not its sum.
    known = None if why else joules / covered
    return Joules(seconds, known, last.source, last.covers, last.missing, step, min(covered, 1.0), why)
