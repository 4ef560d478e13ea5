"""What rbe/encoder.h and rbe/encoder_decoder.h declare, for ctypes: structures and prototypes. Constants are in
_abi.py."""

from __future__ import annotations

import ctypes
from typing import Any

from rbe_edge._structures import ModelHandle, ProfileEntry, ProgressCallback, SessionHandle

_PLANES = ctypes.c_uint32 * 4  # by PLANES_*


class EncoderHandle(ctypes.Structure):
    """rbe_encoder"""


class EncoderInfo(ctypes.Structure):
    """rbe_encoder_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("is_encoder", ctypes.c_uint32),
        ("pooling", ctypes.c_uint32),
        ("n_pooled", ctypes.c_uint32),
        ("is_classes", ctypes.c_uint32),
        ("is_normalized", ctypes.c_uint32),
        ("n_segments", ctypes.c_uint32),
        ("has_word_head", ctypes.c_uint32),
        ("context_tokens", ctypes.c_uint32),
    ]


class EncoderOptions(ctypes.Structure):
    """rbe_encoder_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("n_threads", ctypes.c_uint32),
        ("pass_tokens", ctypes.c_uint32),
        ("n_planes", ctypes.c_uint32),
        ("planes", _PLANES),
        ("profile", ctypes.c_uint32),
        ("pooling", ctypes.c_uint32),
    ]


class EncoderText(ctypes.Structure):
    """rbe_encoder_text"""

    _fields_ = [
        ("tokens", ctypes.POINTER(ctypes.c_uint32)),
        ("segments", ctypes.POINTER(ctypes.c_uint8)),
        ("n_tokens", ctypes.c_size_t),
    ]


class EncoderDecoderInfo(ctypes.Structure):
    """rbe_encoder_decoder_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("is_encoder_decoder", ctypes.c_uint32),
        ("encoder_layers", ctypes.c_uint32),
        ("start_token", ctypes.c_uint32),
    ]


CAPTURE_EXPERT_INPUT = 0x10000
CAPTURE_EXPERT_DOWN = 0x20000

_SESSION = ctypes.POINTER(SessionHandle)
_TOKENS = ctypes.POINTER(ctypes.c_uint32)
_ENCODER = ctypes.POINTER(EncoderHandle)
_FLOATS = ctypes.POINTER(ctypes.c_float)
_TEXTS = ctypes.POINTER(EncoderText)
_MODEL = ctypes.POINTER(ModelHandle)
_STATUS = ctypes.c_int
_SIZE = ctypes.c_size_t
_RUN = [_ENCODER, _TEXTS, _SIZE, _FLOATS, ProgressCallback, ctypes.c_void_p]

encoder_prototypes: dict[str, tuple[Any, list[Any]]] = {
    "rbe_model_get_encoder_info": (_STATUS, [_MODEL, ctypes.POINTER(EncoderInfo)]),
    "rbe_encoder_create": (_STATUS, [_MODEL, ctypes.POINTER(EncoderOptions), ctypes.POINTER(_ENCODER)]),
    "rbe_encoder_free": (None, [_ENCODER]),
    "rbe_encoder_hidden": (_STATUS, _RUN),
    "rbe_encoder_pool": (_STATUS, _RUN),
    "rbe_encoder_word_logits": (_STATUS, [_ENCODER, _TEXTS, ctypes.POINTER(ctypes.c_uint32), _SIZE, _FLOATS]),
    "rbe_encoder_cancel": (None, [_ENCODER]),
    "rbe_encoder_uncancel": (None, [_ENCODER]),
    "rbe_encoder_get_profile": (
        _STATUS,
        [_ENCODER, ctypes.POINTER(ProfileEntry), _SIZE, ctypes.POINTER(_SIZE)],
    ),
    "rbe_model_get_encoder_decoder_info": (_STATUS, [_MODEL, ctypes.POINTER(EncoderDecoderInfo)]),
    "rbe_session_encode": (_STATUS, [_SESSION, _TOKENS, _SIZE, ProgressCallback, ctypes.c_void_p]),
    "rbe_session_text_tokens": (_SIZE, [_SESSION]),
}
"""Functions of the header: their results and arguments."""
