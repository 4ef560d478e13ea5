"""Options of sessions as the C library takes them."""

from __future__ import annotations

import ctypes

from rbe_edge import _native
from rbe_edge.runtime.options import KvType, SessionOptions

_KV_TYPES: dict[KvType, int] = {
    "f16": _native.KV_F16, "f32": _native.KV_F32, "q8": _native.KV_Q8, "q8q4": _native.KV_Q8Q4, "auto": _native.KV_AUTO,
}  # fmt: skip


def raw_session_options(options: SessionOptions) -> _native.SessionOptions:
    return _native.SessionOptions(
        struct_bytes=ctypes.sizeof(_native.SessionOptions),
        context_tokens=options.context,
        n_threads=options.threads,
        pass_tokens=options.pass_tokens,
        kv_type=_KV_TYPES[options.kv],
        n_planes=options.planes,
        sink_tokens=options.sinks,
        profile=int(options.profile),
    )
