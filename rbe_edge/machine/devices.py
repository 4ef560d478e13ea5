"""Small computers by the memory that a model can have there: for `rbe fit --device`.

What a device has is less than what it is sold with (firmware, graphics, kernel), and less again where a system runs.
The first is a fact of the device; the second is typical, and `rbe fit` on the device itself measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbe_edge.errors import OptionError

MB = 1 << 20

PROGRAM_BYTES = 20 * MB
"""Of the Python command, resident, before a model is opened (docs/memory.md). The C program takes 1 to 2 MB."""


@dataclass(frozen=True)
class Device:
    """total: bytes of memory that it is sold with. available: bytes that programs typically can have when nothing else
    runs. reason: why so few."""

    name: str
    what: str
    total: int
    available: int
    reason: str


_LITE = (
    "assumed of Raspberry Pi OS Lite: firmware, graphics and kernel keep 80 MB, services 100 MB; with a desktop it is "
    "some 300 MB less"
)
_PHONE = "assumed of Android: system and services keep half, and 180 MB stay in reserve; the less, the more is open"


def _pi(model: str, gigabytes: float) -> Device:
    total = int(gigabytes * 1024) * MB
    size = f"{gigabytes:g}gb" if gigabytes >= 1 else f"{int(gigabytes * 1024)}mb"
    return Device(f"{model}-{size}", f"Raspberry Pi {model[3:]}", total, total - 180 * MB, _LITE)


def _phone(gigabytes: int) -> Device:
    total = gigabytes * 1024 * MB
    return Device(f"phone-{gigabytes}gb", "Android phone", total, total // 2 - 180 * MB, _PHONE)


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        *(_pi("rpi5", gigabytes) for gigabytes in (2, 4, 8, 16)),
        *(_pi("rpi4", gigabytes) for gigabytes in (1, 2, 4, 8)),
        Device("rpi3", "Raspberry Pi 3", 1024 * MB, 844 * MB, _LITE),
        Device("rpi-zero2", "Raspberry Pi Zero 2 W", 512 * MB, 332 * MB, _LITE),
        *(_phone(gigabytes) for gigabytes in (3, 4, 6, 8)),
    )
}
"""By name. Totals: raspberrypi.com, "Specifications" of each. Of a phone, 180 MB are the level below which Android ends
what is open (ProcessList.mOomMinFreeHigh of AOSP)."""


def device_named(name: str) -> Device:
    """Raises OptionError, with the names, where there is no such device."""
    device = DEVICES.get(name.lower())
    if device is None:
        raise OptionError(f"there is no device {name}; known are {', '.join(DEVICES)}, or give --available 800M")
    return device
