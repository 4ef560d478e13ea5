"""What a model and its sessions take of memory, and where a session's time goes, as the engine counts them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields
from typing import Any

from rbe_edge import _native
from rbe_edge.runtime.options import CachePolicy


@dataclass(frozen=True)
class ModelMemory:
    """In bytes, unless said otherwise.

    sessions_in_use: arenas of sessions, rounded up to powers of two and one and a half times these. sessions_peak: the
    most there ever were at a time. sessions_held: of freed sessions, kept for the next (Model.trim_memory() gives it
    back). sessions_taken, sessions_reused: arenas ever taken, and how many of them had been held. cache_limit,
    cache_used: generated rows that are kept (CachePolicy); cache_hits, cache_misses: rows. resident_limit: max_memory,
    0 where there is none or the file is smaller. resident_pinned: what of the file stays in memory under that limit.
    """

    sessions_in_use: int
    sessions_peak: int
    sessions_held: int
    sessions_taken: int
    sessions_reused: int
    cache_limit: int
    cache_used: int
    cache_hits: int
    cache_misses: int
    resident_limit: int
    resident_pinned: int


def read_memory(model: Any) -> ModelMemory:
    """model: an rbe_model."""
    raw = _native.ModelMemory(struct_bytes=ctypes.sizeof(_native.ModelMemory))
    _native.check(_native.library().rbe_model_get_memory(model, ctypes.byref(raw)))
    return ModelMemory(**{field.name: getattr(raw, field.name) for field in fields(ModelMemory)})


def cache_roles(policy: CachePolicy) -> int:
    """RBE_CACHE_* of a policy."""
    roles = _native.CACHE_EMBEDDINGS if policy.embeddings else 0
    roles |= _native.CACHE_ATTENTION if policy.attention else 0
    roles |= _native.CACHE_FEED_FORWARD if policy.feed_forward else 0
    return roles or _native.CACHE_NOTHING


@dataclass(frozen=True)
class ProfileEntry:
    """One kind of step. calls: of that step, per layer and pass over some tokens, but for what stands before and behind
    the layers. ms: spent in them altogether."""

    operation: str
    calls: int
    ms: float


def read_profile(session: Any) -> tuple[ProfileEntry, ...]:
    """session: an rbe_session that was made to measure."""
    n_entries = ctypes.c_size_t()
    read = _native.library().rbe_session_get_profile
    status = read(session, None, 0, ctypes.byref(n_entries))
    if status != _native.ERROR_CAPACITY:
        _native.check(status)
    entries = (_native.ProfileEntry * n_entries.value)()
    _native.check(read(session, entries, len(entries), ctypes.byref(n_entries)))
    return tuple(
        ProfileEntry(entry.operation.decode("ascii"), entry.calls, entry.nanoseconds / 1e6) for entry in entries
    )
