"""What the machine says of itself: memory, battery, temperature (psutil)."""

from __future__ import annotations

import os
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

    battery: Any = _ask(getattr(psutil, "sensors_battery", None))
    return Readings(
        memory=psutil.Process(os.getpid()).memory_info().rss,
        free=psutil.virtual_memory().available,
        battery=None if battery is None else float(battery.percent),
        plugged=None if battery is None else battery.power_plugged,
        temperature=_temperature(_ask(getattr(psutil, "sensors_temperatures", None)) or {}),
    )


def _ask(sensor: Any) -> Any:
    """What a sensor says; None where the system has none, or its driver fails."""
    try:
        return sensor() if sensor is not None else None
    except Exception:  # drivers fail in ways of their own, and a chat needs no sensor
        return None


def _temperature(sensors: dict[str, Any]) -> float | None:
    for name in _PROCESSOR_SENSORS:
        values = [entry.current for entry in sensors.get(name, ()) if entry.current and 0 < entry.current < 150]
        if values:
            return float(max(values))
    return None
