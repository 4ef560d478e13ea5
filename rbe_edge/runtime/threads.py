"""How many threads are fastest, by measurement during an answer (rbe/threads.h)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Literal

from rbe_edge import _native
from rbe_edge.runtime.options import require

ThreadsState = Literal["chosen", "trying", "found", "kept"]
_STATES: tuple[ThreadsState, ...] = ("chosen", "trying", "found", "kept")


@dataclass(frozen=True)
class ThreadsInfo:
    """threads: of the session now. state: "chosen" by the caller or the cores, "trying", "found" by this session, or
    "kept" from an earlier one. tokens_per_s: of the median step, by number of threads, in the order of trying."""

    threads: int
    state: ThreadsState
    tokens_per_s: dict[int, float]


@dataclass(frozen=True)
class KeptThreads:
    """What a file of results holds of a size of model, on this machine. bytes_per_token: of weights, at least; at most
    twice as many."""

    bytes_per_token: int
    threads: int
    tokens_per_s: dict[int, float]


def _rates(raw: Any) -> dict[int, float]:
    return {raw.tried[i]: round(raw.tokens_per_s[i], 2) for i in range(raw.n_tried)}


def try_threads(session: Any, kept: os.PathLike[str] | None) -> None:
    """session: an rbe_session, here and below."""
    path = None if kept is None else os.fsencode(kept)
    _native.check(_native.library().rbe_session_try_threads(session, path))


def read_threads(session: Any) -> ThreadsInfo:
    raw = _native.ThreadsInfo(struct_bytes=ctypes.sizeof(_native.ThreadsInfo))
    _native.check(_native.library().rbe_session_get_threads(session, ctypes.byref(raw)))
    return ThreadsInfo(raw.n_threads, _STATES[raw.state], _rates(raw))


def kept_threads(kept: os.PathLike[str]) -> list[KeptThreads]:
    """What the file says of this machine, by size of model; [] where there is no such file."""
    lib, found = _native.library(), []
    machine, index = lib.rbe_threads_machine(), 0
    raw = _native.ThreadsKept(struct_bytes=ctypes.sizeof(_native.ThreadsKept))
    while lib.rbe_threads_read(os.fsencode(kept), index, ctypes.byref(raw)) == _native.OK:
        if raw.machine == machine:
            found.append(KeptThreads(1 << raw.size_class, raw.n_threads, _rates(raw)))
        index += 1
    return sorted(found, key=lambda entry: entry.bytes_per_token)


@dataclass(frozen=True)
class Workers:
    """How threads use the machine. threads: 1 to 64, which ends trying; 0: as they are. sleep: as soon as they have
    nothing to do, instead of looking for work some 20 us longer, which is faster. slow_cores: they prefer the slow
    cores of a processor that has two kinds, which take less energy for the same work."""

    threads: int = 0
    sleep: bool = False
    slow_cores: bool = False


def raw_workers(workers: Workers) -> Any:
    """The same as an rbe_workers. Raises OptionError."""
    require(0 <= workers.threads <= 64, f"threads must be from 1 to 64, or 0 for as they are, not {workers.threads}")
    size = ctypes.sizeof(_native.Workers)
    return _native.Workers(size, workers.threads, int(workers.sleep), int(workers.slow_cores))
