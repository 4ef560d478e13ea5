"""Memory, battery and temperature, as the sensors of this machine say. All of it needs psutil (the extra `tui`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The processor's own sensors, by the names that Linux gives them; others (disks, radios) are of no use here.
_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "cpu", "acpitz")


@dataclass(frozen=True)
class Readings:
    """memory: bytes that the process holds. free: bytes that programs can still have. battery: percent. temperature:
    degrees Celsius of the processor. None where the machine has no such thing."""

    memory: int
    free: int
    battery: float | None
    plugged: bool | None
    temperature: float | None


def read() -> Readings:
    """Reads the sensors, which may take tens of milliseconds: not for the event loop."""
    import psutil

    charge = battery()
    return Readings(
        memory=psutil.Process(os.getpid()).memory_info().rss,
        free=psutil.virtual_memory().available,
        battery=None if charge is None else float(charge.percent),
        plugged=None if charge is None else charge.power_plugged,
        temperature=_of_processor(temperatures()),
    )


def battery() -> Any:
    """psutil's answer: `percent`, and `power_plugged`; None where the machine has none."""
    return _ask("sensors_battery")


def temperatures() -> Mapping[str, Sequence[Any]]:
    """psutil's answers by chip: each has a `label`, and `current` in degrees Celsius. Empty where there are none."""
    found: Mapping[str, Sequence[Any]] = _ask("sensors_temperatures") or {}
    return found


def _ask(name: str) -> Any:
    """What a sensor says; None where the system has none, or its driver fails."""
    import psutil

    sensor = getattr(psutil, name, None)  # not on every system
    try:
        return sensor() if sensor is not None else None
    except Exception:  # drivers fail in ways of their own, and nobody here depends on a sensor
        return None


def _of_processor(sensors: Mapping[str, Sequence[Any]]) -> float | None:
    for name in _PROCESSOR_SENSORS:
        values = [entry.current for entry in sensors.get(name, ()) if entry.current and 0 < entry.current < 150]
        if values:
            return float(max(values))
    return None
