"""What effort.h, modes.h, parts.h and, of workers, threads.h declare, for ctypes. The rest is in _structures.py."""

from __future__ import annotations

import ctypes

from rbe_edge._sensor_structures import Policy, PowerHandle

GovernorCallback = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)


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


class PartInfo(ctypes.Structure):
    """rbe_part_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("name", ctypes.POINTER(ctypes.c_char)),
        ("name_bytes", ctypes.c_size_t),
        ("version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("known", ctypes.c_uint32),
        ("data_bytes", ctypes.c_uint64),
    ]


class Mode(ctypes.Structure):
    """rbe_mode"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("mode", ctypes.c_uint32),
        ("found", ctypes.c_uint32),
        ("embedding", ctypes.c_uint32),
        ("lm_head", ctypes.c_uint32),
        ("n_layers", ctypes.c_uint32),
        ("against", ctypes.c_uint32),
        ("attention", ctypes.POINTER(ctypes.c_uint8)),
        ("feed_forward", ctypes.POINTER(ctypes.c_uint8)),
        ("bytes_per_token", ctypes.c_uint64),
        ("n_tokens", ctypes.c_uint64),
        ("perplexity", ctypes.c_double),
        ("kl", ctypes.c_double),
        ("kl_error", ctypes.c_double),
        ("top1", ctypes.c_double),
        ("reason", ctypes.c_char_p),
        ("text", ctypes.c_char_p),
    ]


class GovernorHandle(ctypes.Structure):
    """rbe_governor"""


class GovernorOptions(ctypes.Structure):
    """rbe_governor_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("power", ctypes.POINTER(PowerHandle)),
        ("policy", ctypes.POINTER(Policy)),
        ("watts", ctypes.c_double),
        ("celsius", ctypes.c_double),
        ("tokens_per_s", ctypes.c_double),
        ("log", GovernorCallback),
        ("log_user", ctypes.c_void_p),
    ]


class GovernorInfo(ctypes.Structure):
    """rbe_governor_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("mode", ctypes.c_uint32),
        ("n_switches", ctypes.c_uint32),
        ("reason", ctypes.c_char * 64),
        ("waited_s", ctypes.c_double),
        ("joules", ctypes.c_double),
        ("joule_seconds", ctypes.c_double),
        ("n_tokens", ctypes.c_uint64),
        ("n_threads", ctypes.c_uint32),
        ("resolution_j", ctypes.c_double),
    ]


class ModeLimits(ctypes.Structure):
    """rbe_mode_limits"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("context_tokens", ctypes.c_uint32),
        ("max_sessions", ctypes.c_uint32),
        ("cache_divisor", ctypes.c_uint32),
    ]
