"""Memory, battery and temperature for a person."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rbe_edge.machine.memory import available
from rbe_edge.machine.power import Power, Sample
from rbe_edge.machine.process import resident_bytes


@dataclass(frozen=True)
class Readings:
    """memory: bytes that the process holds. free: bytes that it can still have, 0 where unknown. battery: percent.
    plugged: whether it lives on mains or USB. temperature: degrees Celsius of the processor. None where the machine has
    no such thing, or does not say."""

    memory: int
    free: int
    battery: float | None
    plugged: bool | None
    temperature: float | None


@functools.cache
def of_this_machine() -> Power:
    """Opened at the first use and never closed: everybody in this process reads the same."""
    return Power()


@functools.cache
def measuring() -> Power:
    """The same; from now on its sensors of watts are read all the time, for the energy."""
    power = of_this_machine()
    power.start()
    return power


def read() -> Readings:
    """Reads the sensors, which may take tens of milliseconds: not for the event loop."""
    sample = of_this_machine().sample()
    return Readings(
        memory=resident_bytes(),
        free=available().bytes or 0,
        battery=percent(sample),
        plugged=sample.charging,
        temperature=sample.temperature_c,
    )


def percent(sample: Sample) -> float | None:
    """Of the battery."""
    return None if sample.battery_level is None else 100 * sample.battery_level
