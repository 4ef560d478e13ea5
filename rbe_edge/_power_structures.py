"""What rbe/effort.h declares, and workers of rbe/threads.h, for ctypes. The rest is in _structures.py."""

from __future__ import annotations

import ctypes


class Effort(ctypes.Structure):
    """rbe_effort"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("embedding", ctypes.c_uint32),
        ("lm_head", ctypes.c_uint32),
        ("n_layers", ctypes.c_uint32),
        ("attention", ctypes.POINTER(ctypes.c_uint8)),
        ("feed_forward", ctypes.POINTER(ctypes.c_uint8)),
    ]


class Workers(ctypes.Structure):
    """rbe_workers"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("n_threads", ctypes.c_uint32),
        ("sleep", ctypes.c_uint32),
        ("slow_cores", ctypes.c_uint32),
    ]
