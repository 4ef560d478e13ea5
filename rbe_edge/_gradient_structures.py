"""What rbe/gradients.h declares, for ctypes: its structures. Constants and prototypes are in _abi.py."""

from __future__ import annotations

import ctypes


class GradientsHandle(ctypes.Structure):
    """rbe_gradients"""


class GradientsOptions(ctypes.Structure):
    """rbe_gradients_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("most_tokens", ctypes.c_uint32),
        ("context_tokens", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("gains", ctypes.c_uint32),
    ]


class CurvatureRows(ctypes.Structure):
    """rbe_curvature_rows"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("x", ctypes.POINTER(ctypes.c_float)),
        ("d", ctypes.POINTER(ctypes.c_float)),
        ("n_tokens", ctypes.c_uint32),
        ("window_tokens", ctypes.c_uint32),
        ("n_rows", ctypes.c_uint32),
        ("cols", ctypes.c_uint32),
    ]


class Gradient(ctypes.Structure):
    """rbe_gradient"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("layer", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("cols", ctypes.c_uint32),
        ("first_row", ctypes.c_uint32),
        ("n_rows", ctypes.c_uint32),
        ("n_tokens", ctypes.c_uint32),
        ("window_tokens", ctypes.c_uint32),
        ("x", ctypes.POINTER(ctypes.c_float)),
        ("d", ctypes.POINTER(ctypes.c_float)),
        ("gains", ctypes.POINTER(ctypes.c_float)),
    ]


GradientCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Gradient), ctypes.c_void_p)
