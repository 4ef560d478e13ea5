"""Processor and cores of this machine, and how fast it reads its memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from rbe_edge.errors import RbeError

_BUFFER_BYTES = 256 << 20  # far above the caches of small machines
_PASSES = 7


@dataclass(frozen=True)
class Machine:
    """processor: as the operating system names it. cores: that this process may use. read_gb_per_s: 10^9 bytes per
    second that so many threads read from memory, one for each core."""

    processor: str
    cores: int
    system: str
    read_gb_per_s: float


def describe(read_gb_per_s: float) -> Machine:
    return Machine(_processor(), cores(), f"{platform.system()} {platform.machine()}", read_gb_per_s)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def read_bandwidth(threads: int) -> float:
    """10^9 bytes per second that so many threads read from memory, measured once. In a process of its own, so that its
    buffer does not count as memory of this one. Raises RbeError."""
    command = [sys.executable, "-m", "rbe_edge.machine.hardware", str(threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            told = process.stdout.read()
        except BaseException:  # Ctrl-C, which subprocess.run() would obey a quarter of a second later
            process.kill()
            raise
    try:
        return float(told)
    except ValueError:
        raise RbeError("the memory bandwidth could not be measured; 300 MB of free memory are needed") from None


def _read(threads: int) -> float:
    """Each thread reads its part of a buffer that no cache holds; the best of some passes."""
    buffer = np.ones(_BUFFER_BYTES // 8, np.int64)
    parts = np.array_split(buffer, threads)
    best = 0.0
    for _ in range(_PASSES):
        workers = [threading.Thread(target=np.bitwise_or.reduce, args=(part,)) for part in parts]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, buffer.nbytes / (time.perf_counter() - began) / 1e9)
    return best


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(_read(int(sys.argv[1])))
