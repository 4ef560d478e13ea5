"""The memory that this process can still have."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from rbe_edge import _native


@dataclass(frozen=True)
class Available:
    """Memory that this process can still have, in bytes. total: of the machine, 0 where unknown. bytes: None where
    unknown. limited_by: "free memory", "control group" or "Android's reserve". address_space: None where unlimited."""

    total: int
    bytes: int | None
    swap: int
    address_space: int | None
    limited_by: str


def available() -> Available:
    """What this process can still have now, by MemAvailable, control groups, Android's reserve and RLIMIT_AS."""
    raw = _native.Memory(struct_bytes=ctypes.sizeof(_native.Memory))
    _native.check(_native.library().rbe_memory_find(ctypes.byref(raw)))

    def known(value: int) -> int | None:
        return None if value == _native.UNLIMITED else value

    return Available(
        raw.total, known(raw.available), raw.swap, known(raw.address_space), raw.limited_by.decode("ascii")
    )
