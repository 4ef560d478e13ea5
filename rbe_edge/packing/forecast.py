"""How long work of several kinds will take: amounts are known beforehand, speeds are corrected as the work goes.

A Forecast is told what is left to do (plan), in units of each kind, and counts what is done (doing). Its listener
(rbe_edge/progress.py) hears `done` and `total` in milliseconds: what is foreseen is still `total - done`, and `done /
total` never falls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rbe_edge.progress import Listener, Progress, Report

_TRUST_S = 1.0
"""So much work is trusted to go as the rates say before what is measured counts more."""


class Forecast:
    """The work that is left, and how long it takes. For one thread.

    rates: seconds for a unit of each kind on some machine. Another machine may be slower or faster by a factor that
    all kinds have about in common: what has been done so far tells it also of kinds that have not begun.
    """

    def __init__(
        self,
        listener: Listener | None,
        rates: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = Progress(listener)
        self._rates = rates
        self._clock = clock
        self._began = clock()
        self._left = dict.fromkeys(rates, 0.0)
        self._done = dict.fromkeys(rates, 0.0)
        self._spent = dict.fromkeys(rates, 0.0)
        self._shown = 0.0
        self._planned = False

    def plan(self, left: Mapping[str, float]) -> None:
        """What is left to do from here on, in place of what was thought before."""
        self._left = {kind: left.get(kind, 0.0) for kind in self._rates}
        self._planned = True

    @contextmanager
    def doing(self, kind: str, what: str, units: float) -> Iterator[Report]:
        """Inside, `units` of a kind are done, in words `what`. Gives a Report for it, whatever that counts in; it
        raises Cancelled where the listener stops the work. Does not nest."""
        began = self._clock()

        def report(done: int, total: int) -> None:
            self._tell(what, kind, units * done / max(total, 1), self._clock() - began)

        report(0, 1)
        yield report
        self._left[kind] -= units
        self._done[kind] += units
        self._spent[kind] += self._clock() - began

    def tell(self, what: str) -> None:
        """Says what is being done that is not foreseen. Raises Cancelled."""
        self._tell(what, next(iter(self._rates)), 0.0, 0.0)

    def _tell(self, what: str, kind: str, units: float, seconds: float) -> None:
        if not self._planned:
            self._progress.tell(what, 0, 1)
            return
        left = self.seconds_left(kind, units, seconds)
        elapsed = self._clock() - self._began
        self._shown = max(self._shown, elapsed / (elapsed + left) if elapsed + left > 0 else 0.0)
        left_ms = max(round(1000 * left), 1)
        done_ms = math.ceil(self._shown * left_ms / max(1 - self._shown, 1e-6) - 1e-6)  # so that no rounding lowers it
        self._shown = max(self._shown, done_ms / (done_ms + left_ms))  # what was told does not fall either
        self._progress.tell(what, done_ms, done_ms + left_ms)

    def seconds_left(self, kind: str | None = None, units: float = 0.0, seconds: float = 0.0) -> float:
        """What is foreseen, where `units` of a kind have been done besides, in `seconds`."""
        done, spent = dict(self._done), dict(self._spent)
        if kind is not None:
            done[kind] += units
            spent[kind] += seconds
        foreseen = sum(self._rates[one] * amount for one, amount in done.items())
        pace = (_TRUST_S + sum(spent.values())) / (_TRUST_S + foreseen)
        left = 0.0
        for one, rate in self._rates.items():
            amount = self._left[one] - (units if one == kind else 0.0)
            own = (_TRUST_S * pace + spent[one]) / (_TRUST_S + rate * done[one])  # times what the rates say
            left += max(amount, 0.0) * rate * own
        return left
