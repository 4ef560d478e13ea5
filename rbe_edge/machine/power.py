"""Sensors, energy and power modes of this machine: the binding of rbe/power.h (docs/power.md).

with Power() as power:
    power.start()  # for energy of sensors that give watts
    print(power.sample().battery_level, Decider(Policy()).decide(power.sample()).reason)
    before = power.energy()
    ...
    print(power.energy().joules - before.joules, before.source)
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import OptionError, RbeError


class Mode(IntEnum):
    """From the most power to the least; Mode.SAVER.label is "saver"."""

    PERFORMANCE = _native.MODE_PERFORMANCE
    BALANCED = _native.MODE_BALANCED
    SAVER = _native.MODE_SAVER
    EMERGENCY = _native.MODE_EMERGENCY

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, label: str) -> Mode:
        """Raises KeyError for what is no label."""
        return cls[label.upper()]


class Feed(IntEnum):
    """What a program may tell the sensors (rbe_feed of rbe/power.h says units and ranges)."""

    BATTERY_LEVEL = _native.FEED_BATTERY_LEVEL
    CHARGING = _native.FEED_CHARGING
    CURRENT_A = _native.FEED_CURRENT_A
    VOLTAGE_V = _native.FEED_VOLTAGE_V
    THERMAL_STATUS = _native.FEED_THERMAL_STATUS
    TEMPERATURE_C = _native.FEED_TEMPERATURE_C
    ENERGY_J = _native.FEED_ENERGY_J


@dataclass(frozen=True)
class Sample:
    """What the sensors say; None: unknown.

    time_ns: of time.monotonic_ns() on Linux. battery: whether there is one. battery_level: 0 to 1. charging: whether it
    lives on mains or USB. current_a, power_w: out of the battery, negative into it. temperature_c: of the processor's
    hottest sensor. throttled: whether heat or the supply hold clocks down now; throttled_by: who says so.
    """

    time_ns: int = 0
    battery_level: float | None = None
    current_a: float | None = None
    voltage_v: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    mhz_least: float | None = None
    mhz_most: float | None = None
    mhz_limit: float | None = None
    battery: bool | None = None
    charging: bool | None = None
    throttled: bool | None = None
    temperature_sensor: str | None = None
    throttled_by: str | None = None


@dataclass(frozen=True)
class Energy:
    """joules since the sensors were opened, and the seconds that they cover; joules is None where not readable.

    resolution_j: the step in which joules grow, 0 where they are integrated from watts. index: of the source; joules of
    different ones do not compare. covers: "whole machine", "board", "rails", "package" or "memory". missing: what is
    not in them; where not readable, why.
    """

    joules: float | None
    seconds: float
    resolution_j: float
    readable: bool
    index: int
    source: str
    covers: str
    missing: str


def joules_between(before: Energy, after: Energy) -> float | None:
    """What was spent between two readings. None where nothing measures, or another source than before."""
    if before.joules is None or after.joules is None or before.index != after.index:
        return None
    return after.joules - before.joules


def measured(joules: float, resolution_j: float) -> float | None:
    """None where it is too little for its sensor to tell: under 10 of its steps, or nothing."""
    return joules if joules > 0 and joules >= 10 * resolution_j else None


@dataclass(frozen=True)
class Policy:
    """When which mode. Thresholds in percent of the battery, hysteresis in points, hot and cool in C (docs/power.md).

    override: always that mode.
    """

    performance_above: float = 50
    balanced_above: float = 20
    saver_above: float = 5
    hysteresis: float = 3
    hot: float = 80
    cool: float = 72
    least_seconds: float = 30
    charger_seconds: float = 10
    override: Mode | None = None

    @staticmethod
    def read(path: str | Path) -> Policy:
        """Of a file of `key = value` lines. OptionError names the line that is wrong."""
        raw = _native.Policy(struct_bytes=ctypes.sizeof(_native.Policy))
        _native.check(_native.library().rbe_policy_read(str(path).encode(), ctypes.byref(raw)), OptionError)
        numbers = {field.name: getattr(raw, field.name) for field in fields(Policy) if field.name != "override"}
        return Policy(**numbers, override=Mode(raw.override_mode - 1) if raw.override_mode else None)


def raw_policy(policy: Policy) -> _native.Policy:
    """The same as an rbe_policy."""
    raw = _native.Policy(struct_bytes=ctypes.sizeof(_native.Policy))
    for field in fields(Policy):
        if field.name != "override":
            setattr(raw, field.name, getattr(policy, field.name))
    raw.override_mode = 0 if policy.override is None else 1 + policy.override
    return raw


@dataclass(frozen=True)
class Decision:
    """mode, and that of the decision before. switched: they differ. reason: such as "18 %, 71 C"."""

    mode: Mode
    previous: Mode
    switched: bool
    reason: str


class Decider:
    """A policy and what it remembers. One thread at a time. The policy may be changed between two decisions."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._state = _native.PolicyState()

    def decide(self, sample: Sample) -> Decision:
        """OptionError where a number of the policy is out of its range."""
        raw = raw_policy(self.policy)
        out = _native.PolicyDecision(struct_bytes=ctypes.sizeof(_native.PolicyDecision))
        status = _native.library().rbe_policy_decide(
            ctypes.byref(raw), ctypes.byref(_raw_sample(sample)), ctypes.byref(self._state), ctypes.byref(out)
        )
        _native.check(status, OptionError)
        return Decision(Mode(out.mode), Mode(out.previous), bool(out.switched), _text(out.reason) or "")


class Power:
    """The sensors of this machine, or of the tree of files under `root`. Any number of threads; close it last.

    firmware: the device of a Raspberry Pi's firmware; firmware_program: what is run where that cannot be opened.
    """

    def __init__(self, root: str = "", firmware: str | None = None, firmware_program: str | None = None) -> None:
        self._library = _native.library()
        self._handle: Any = ctypes.POINTER(_native.PowerHandle)()
        options = _native.PowerOptions(
            ctypes.sizeof(_native.PowerOptions),
            root.encode(),
            None if firmware is None else firmware.encode(),
            None if firmware_program is None else firmware_program.encode(),
        )
        status = self._library.rbe_power_open(ctypes.byref(options), ctypes.byref(self._handle))
        _native.check(status, OptionError)

    def __enter__(self) -> Power:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def close(self) -> None:
        """Ends the thread that start() began. A second time does nothing."""
        handle, self._handle = self._handle, None
        if handle:
            self._library.rbe_power_close(handle)

    @property
    def handle(self) -> Any:
        """The rbe_power, for calls on _native. Raises RbeError where it is closed."""
        if not self._handle:
            raise RbeError("the sensors are closed; open them again with Power()")
        return self._handle

    def sample(self) -> Sample:
        """Reads the sensors: a millisecond, or tens of them where a driver is slow. Not for an event loop."""
        raw = _native.PowerSample(struct_bytes=ctypes.sizeof(_native.PowerSample))
        _native.check(self._library.rbe_power_read(self.handle, ctypes.byref(raw)), RbeError)
        return _sample(raw)

    def start(self, hz: float = 10) -> None:
        """Starts the thread that reads sensors of watts so often, .1 to 100; once. OptionError otherwise."""
        _native.check(self._library.rbe_power_start(self.handle, hz), OptionError)

    def feed(self, kind: Feed, value: float, time_ns: int = 0) -> None:
        """Tells what another program measured, now or at time_ns. OptionError where it is out of its range."""
        _native.check(self._library.rbe_power_feed(self.handle, kind, value, time_ns), OptionError)

    def energy(self) -> Energy:
        """Of the source that covers most and is readable."""
        raw = _native.Energy(struct_bytes=ctypes.sizeof(_native.Energy))
        _native.check(self._library.rbe_energy_read(self.handle, ctypes.byref(raw)), RbeError)
        return _energy(raw)

    def sources(self) -> list[Energy]:
        """All sources, readable or not, as they were at the last reading."""
        return list(self._sources())

    def _sources(self) -> Iterator[Energy]:
        for index in range(1000):
            raw = _native.Energy(struct_bytes=ctypes.sizeof(_native.Energy))
            if self._library.rbe_energy_source(self.handle, index, ctypes.byref(raw)) != _native.OK:
                return
            yield _energy(raw)


def _text(raw: bytes) -> str | None:
    return raw.decode("utf-8", "replace") or None


_NUMBERS = ("battery_level", "current_a", "voltage_v", "power_w", "temperature_c", "mhz_least", "mhz_most", "mhz_limit")
_FACTS = ("battery", "charging", "throttled")
_TEXTS = ("temperature_sensor", "throttled_by")


def _sample(raw: _native.PowerSample) -> Sample:
    known = {_native.UNKNOWN: None, _native.NO: False, _native.YES: True}
    values: dict[str, Any] = {name: None if math.isnan(getattr(raw, name)) else getattr(raw, name) for name in _NUMBERS}
    values |= {name: known[getattr(raw, name)] for name in _FACTS}
    values |= {name: _text(getattr(raw, name)) for name in _TEXTS}
    return Sample(time_ns=raw.time_ns, **values)


def _raw_sample(sample: Sample) -> _native.PowerSample:
    raw = _native.PowerSample(struct_bytes=ctypes.sizeof(_native.PowerSample), time_ns=sample.time_ns)
    for name in _NUMBERS:
        value = getattr(sample, name)
        setattr(raw, name, math.nan if value is None else value)
    for name in _FACTS:
        setattr(raw, name, {None: _native.UNKNOWN, False: _native.NO, True: _native.YES}[getattr(sample, name)])
    for name in _TEXTS:
        setattr(raw, name, (getattr(sample, name) or "").encode()[:40])
    return raw


def _energy(raw: _native.Energy) -> Energy:
    return Energy(
        joules=raw.joules if raw.readable else None,
        seconds=raw.seconds,
        resolution_j=raw.resolution_j,
        readable=bool(raw.readable),
        index=raw.index,
        source=_text(raw.source) or "",
        covers=_text(raw.covers) or "",
        missing=_text(raw.missing) or "",
    )
