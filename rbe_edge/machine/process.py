"""The memory and the descriptors of this process."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Most memory that this process has held so far, Python and mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def spare_descriptors() -> int:
    """How many more files and sockets this process may open; a million where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        n_open = len(os.listdir("/dev/fd"))
    except OSError:
        n_open = 64
    return max(0, limit - n_open) if limit != resource.RLIM_INFINITY else 1_000_000


def is_busy() -> bool:
    """Whether other work keeps half of the cores busy or more, by the mean of the last minute; what is measured now
    says little of the machine. False where the system does not say."""
    try:
        return os.getloadavg()[0] >= (os.cpu_count() or 1) / 2
    except OSError:
        return False


def resident_bytes() -> int:
    """What it holds now, mapped files included; where the system does not say (macOS), its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_bytes()


def give_memory_back() -> bool:
    """Gives the system what was freed and the C library still holds for later: glibc keeps it for each thread, without
    a limit. False where the C library has no such call. Any thread; takes some milliseconds."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    trim(0)
    return True
