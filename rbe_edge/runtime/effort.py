"""How much of a model a session reads for a token (rbe/effort.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import OptionError
from rbe_edge.format.modes import Mode
from rbe_edge.runtime.options import require

SKIP: int = _native.SKIP


@dataclass(frozen=True)
class Effort:
    """Planes that are read: 1 to 4, the first ones; 0 is all. attention, feed_forward: of each layer's matrices, or
    SKIP where the step is left out; () is all of every layer. embedding, lm_head: one matrix in both roles where it is
    tied."""

    attention: tuple[int, ...] = ()
    feed_forward: tuple[int, ...] = ()
    embedding: int = 0
    lm_head: int = 0

    @classmethod
    def of_mode(cls, mode: Mode) -> Effort:
        """What a power mode of a file's table reads."""
        return cls(mode.attention, mode.feed_forward, mode.embedding, mode.lm_head)


def _list_of(what: str, planes: Sequence[int]) -> Any:
    for count in planes:
        require(0 <= count <= 4 or count == SKIP, f"{what}: planes are from 1 to 4, 0 for all or SKIP, not {count}")
    return (ctypes.c_uint8 * len(planes))(*planes)


def _raw(effort: Effort | None) -> Any:
    """An rbe_effort; what it points to lives as long as it does."""
    effort = effort or Effort()
    n_layers = max(len(effort.attention), len(effort.feed_forward))
    for what, count in (("embedding", effort.embedding), ("lm_head", effort.lm_head)):
        require(0 <= count <= 4, f"{what}: planes are from 1 to 4, or 0 for all, not {count}")
    lists = [effort.attention or (0,) * n_layers, effort.feed_forward or (0,) * n_layers]
    require(len(lists[0]) == len(lists[1]), "attention and feed_forward are of as many layers")
    attention, feed_forward = _list_of("attention", lists[0]), _list_of("feed_forward", lists[1])
    return _native.Effort(
        ctypes.sizeof(_native.Effort), effort.embedding, effort.lm_head, n_layers, attention, feed_forward
    )


def set_effort(session: Any, effort: Effort | None) -> None:
    """session: an rbe_session. Raises OptionError where the effort is none for its model."""
    _native.check(_native.library().rbe_session_set_effort(session, ctypes.byref(_raw(effort))), OptionError)


def read_bytes(model: Any, effort: Effort | None) -> int:
    """Bytes of weights that a token reads. model: an rbe_model. Raises as set_effort()."""
    found = ctypes.c_uint64()
    lib = _native.library()
    _native.check(lib.rbe_model_effort_bytes(model, ctypes.byref(_raw(effort)), ctypes.byref(found)), OptionError)
    return found.value
