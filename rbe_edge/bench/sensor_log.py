"""Sensors once a second, beside what is timed: heat, clocks, throttling."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rbe_edge.errors import RbeError
from rbe_edge.machine.power import Power

PERIOD_S = 1.0  # a sample takes about .1 ms of a processor (tools/power_cost.py)


@dataclass(frozen=True)
class Moment:
    """What the sensors said `seconds` after the log began; None: unknown. joules: since the sensors were opened."""

    seconds: float
    temperature_c: float | None = None
    mhz_least: float | None = None
    mhz_most: float | None = None
    mhz_limit: float | None = None
    throttled: bool | None = None
    throttled_by: str | None = None
    battery_level: float | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Sensed:
    """Of some moments. temperatures in C: at the begin, at the end, the most. mhz: of any core. limit: the lowest that
    was allowed. throttled: None where no sensor says; throttled_by: who said so."""

    begin_c: float | None = None
    end_c: float | None = None
    most_c: float | None = None
    mhz_least: float | None = None
    mhz_most: float | None = None
    mhz_limit: float | None = None
    throttled: bool | None = None
    throttled_by: str | None = None


def sum_up(moments: Sequence[Moment]) -> Sensed:
    heat = [moment.temperature_c for moment in moments if moment.temperature_c is not None]
    slow = [moment.mhz_least for moment in moments if moment.mhz_least is not None]
    fast = [moment.mhz_most for moment in moments if moment.mhz_most is not None]
    limits = [moment.mhz_limit for moment in moments if moment.mhz_limit is not None]
    known = [moment.throttled for moment in moments if moment.throttled is not None]
    by = {moment.throttled_by for moment in moments if moment.throttled and moment.throttled_by}
    return Sensed(
        heat[0] if heat else None,
        heat[-1] if heat else None,
        max(heat, default=None),
        min(slow, default=None),
        max(fast, default=None),
        min(limits, default=None),
        any(known) if known else None,
        "; ".join(sorted(by)) or None,
    )


class SensorLog:
    """Reads the sensors in a thread of its own from its begin to its end, once at each at least. A context manager."""

    def __init__(self, power: Power, period_s: float = PERIOD_S) -> None:
        self._power = power
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="rbe-sensor-log", daemon=True)
        self._moments: list[Moment] = []
        self._began = time.monotonic()

    def __enter__(self) -> SensorLog:
        self._began = time.monotonic()
        self._read()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._read()

    @property
    def moments(self) -> tuple[Moment, ...]:
        return tuple(self._moments)

    def _read_on(self) -> None:
        while not self._ended.wait(self._period_s):
            self._read()

    def _read(self) -> None:
        try:
            sample, energy = self._power.sample(), self._power.energy()
        except RbeError:  # a driver that fails is one moment less
            return
        self._moments.append(
            Moment(
                time.monotonic() - self._began,
                sample.temperature_c,
                sample.mhz_least,
                sample.mhz_most,
                sample.mhz_limit,
                sample.throttled,
                sample.throttled_by,
                sample.battery_level,
                energy.joules,
            )
        )
