"""What rbe/gradients.h declares, for ctypes: structures and prototypes. Constants are in _abi.py."""

from __future__ import annotations

import ctypes
from typing import Any

from rbe_edge._structures import ModelHandle


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
        ("encoder", ctypes.c_uint32),
    ]


class GradientsText(ctypes.Structure):
    """rbe_gradients_text"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("hidden", ctypes.POINTER(ctypes.c_float)),
        ("d_hidden", ctypes.POINTER(ctypes.c_float)),
        ("n_tokens", ctypes.c_uint32),
        ("window_tokens", ctypes.c_uint32),
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

_STATUS = ctypes.c_int
_U32, _SIZE = ctypes.c_uint32, ctypes.c_size_t
_MODEL = ctypes.POINTER(ModelHandle)
_GRADIENTS = ctypes.POINTER(GradientsHandle)
_TEXT = ctypes.POINTER(GradientsText)
_FLOATS = ctypes.POINTER(ctypes.c_float)
_TOKENS = ctypes.POINTER(ctypes.c_uint32)

gradient_prototypes: dict[str, tuple[Any, list[Any]]] = {
    "rbe_gradients_create": (_STATUS, [_MODEL, ctypes.POINTER(GradientsOptions), ctypes.POINTER(_GRADIENTS)]),
    "rbe_gradients_free": (None, [_GRADIENTS]),
    "rbe_gradients_cancel": (None, [_GRADIENTS]),
    "rbe_gradients_uncancel": (None, [_GRADIENTS]),
    "rbe_gradients_head": (
        _STATUS,
        [
            _GRADIENTS,
            _FLOATS,
            _SIZE,
            _U32,
            _TOKENS,
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_double),
            _FLOATS,
            GradientCallback,
            ctypes.c_void_p,
        ],
    ),
    "rbe_gradients_head_toward": (
        _STATUS,
        [
            _GRADIENTS,
            _FLOATS,
            _MODEL,
            _FLOATS,
            _SIZE,
            _U32,
            ctypes.POINTER(ctypes.c_double),
            _FLOATS,
            GradientCallback,
            ctypes.c_void_p,
        ],
    ),
    "rbe_gradients_layer": (
        _STATUS,
        [_GRADIENTS, _U32, _FLOATS, _SIZE, _U32, _FLOATS, GradientCallback, ctypes.c_void_p],
    ),
    "rbe_gradients_cross_layer": (
        _STATUS,
        [_GRADIENTS, _U32, _FLOATS, _SIZE, _U32, _TEXT, _FLOATS, GradientCallback, ctypes.c_void_p],
    ),
    "rbe_gradients_forward": (_STATUS, [_GRADIENTS, _U32, _FLOATS, _SIZE, _U32, _TEXT]),
    "rbe_gradients_norm": (
        _STATUS,
        [_GRADIENTS, _FLOATS, _SIZE, _U32, _FLOATS, GradientCallback, ctypes.c_void_p],
    ),
    "rbe_gradients_layer_embeddings": (
        _STATUS,
        [_GRADIENTS, _TOKENS, _SIZE, _U32, _FLOATS, _FLOATS, GradientCallback, ctypes.c_void_p],
    ),
    "rbe_gradients_embedding": (_STATUS, [_GRADIENTS, _TOKENS, _SIZE, _U32, _FLOATS, _FLOATS, _FLOATS]),
    "rbe_gradients_add": (_STATUS, [_GRADIENTS, _FLOATS, _FLOATS, _SIZE, _U32, _U32, _FLOATS]),
    "rbe_gradients_add_curvature": (_STATUS, [_GRADIENTS, ctypes.POINTER(CurvatureRows), _FLOATS]),
}
"""Functions of the header: their results and arguments."""
