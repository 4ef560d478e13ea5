"""What a model says of the parts of its file (rbe/parts.h), and its table of power modes (rbe/modes.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rbe_edge import _native
from rbe_edge.format.modes import AGAINST, MODE_NAMES, MODES_PART, Mode, ModeTable, layer_planes

__all__ = ["MODE_NAMES", "Mode", "ModeTable", "PartInfo", "read_modes", "read_part", "read_part_list"]


@dataclass(frozen=True)
class PartInfo:
    """One part. required: a build that does not know it refuses the file. known: whether this build reads this version
    of it."""

    name: str
    version: int
    required: bool
    known: bool
    data_bytes: int


def read_part_list(model: Any) -> Mapping[str, PartInfo]:
    """In the order of the file; model: an rbe_model, here and below."""
    lib = _native.library()
    raw = _native.PartInfo(struct_bytes=ctypes.sizeof(_native.PartInfo))
    found = {}
    for index in range(lib.rbe_model_part_count(model)):
        _native.check(lib.rbe_model_part_info(model, index, ctypes.byref(raw)))
        name = ctypes.string_at(raw.name, raw.name_bytes).decode("ascii")
        required = bool(raw.flags & _native.PART_REQUIRED)
        found[name] = PartInfo(name, raw.version, required, bool(raw.known), raw.data_bytes)
    return MappingProxyType(found)


def read_part(model: Any, name: str) -> bytes:
    """The data of a part. Raises ModelError where the file has none of that name, or it is damaged."""
    data, n_bytes = ctypes.c_void_p(), ctypes.c_uint64()
    lib = _native.library()
    _native.check(lib.rbe_model_part(model, name.encode(), ctypes.byref(data), ctypes.byref(n_bytes), None))
    return ctypes.string_at(data, n_bytes.value)


def read_modes(model: Any) -> ModeTable | None:
    """None where the file has no table, or one that this build does not know."""
    part = read_part_list(model).get(MODES_PART)
    if part is None or not part.known:
        return None
    raws = [_read_mode(model, number) for number in range(len(MODE_NAMES))]
    modes = tuple(_mode(raw) for raw in raws)
    return ModeTable(raws[0].n_layers, modes, _text(raws[0].text), AGAINST[raws[0].against])


def _read_mode(model: Any, number: int) -> _native.Mode:
    raw = _native.Mode(struct_bytes=ctypes.sizeof(_native.Mode))
    _native.check(_native.library().rbe_model_mode(model, number, ctypes.byref(raw)))
    return raw


def _mode(raw: _native.Mode) -> Mode:
    return Mode(
        attention=layer_planes(bytes(raw.attention[: raw.n_layers])),
        feed_forward=layer_planes(bytes(raw.feed_forward[: raw.n_layers])),
        embedding=raw.embedding,
        lm_head=raw.lm_head,
        bytes_per_token=raw.bytes_per_token,
        n_tokens=raw.n_tokens,
        perplexity=raw.perplexity,
        kl=raw.kl,
        kl_error=raw.kl_error,
        top1=raw.top1,
        reason=_text(raw.reason),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
