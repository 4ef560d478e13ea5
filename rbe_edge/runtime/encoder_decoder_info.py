"""What a model says about itself as an encoder-decoder: one that reads a text with an encoder, once, and answers to it
with a decoder, whose layers keep what they need of the text (docs/encoder_decoders.md)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from rbe_edge import _native


@dataclass(frozen=True)
class EncoderDecoderInfo:
    """encoder_layers: of the encoder. start: the token that begins an answer."""

    encoder_layers: int
    start: int


def read_encoder_decoder_info(model: Any) -> EncoderDecoderInfo | None:
    """model: an rbe_model. None for a model that is none."""
    raw = _native.EncoderDecoderInfo(struct_bytes=ctypes.sizeof(_native.EncoderDecoderInfo))
    _native.check(_native.library().rbe_model_get_encoder_decoder_info(model, ctypes.byref(raw)))
    return EncoderDecoderInfo(raw.encoder_layers, raw.start_token) if raw.is_encoder_decoder else None
