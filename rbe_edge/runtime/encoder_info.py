"""What a model says about itself as one that encodes texts: an encoder, or a decoder trained for embeddings."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from rbe_edge import _native
from rbe_edge.errors import ModelError
from rbe_edge.format.metadata import MetadataValue

Pooling = Literal["cls", "mean", "last", "max"]
"""Which vector stands for a text: that of its first token, the mean of all, that of the last, the largest of each."""

POOLINGS: Mapping[Pooling, int] = MappingProxyType(
    {
        "cls": _native.POOLING_CLS,
        "mean": _native.POOLING_MEAN,
        "last": _native.POOLING_LAST,
        "max": _native.POOLING_MAX,
    }
)


@dataclass(frozen=True)
class EncoderInfo:
    """is_encoder: tokens see those behind them; else it is a decoder, which writes text too. pooling: of the file, None
    where it names none. pooled: numbers that stand for a text, 0 where there is no pooling. is_classes: they are scores
    of classes, before a softmax. is_normalized: they are scaled to length 1. segments: kinds of tokens, 0 or 1: there
    is one. has_word_head: it fills in words. context: tokens of the longest text. labels: names of the classes, empty
    where the file has none. prompts: what is put before a text, by name. between: the tokens between the two texts of a
    pair, None: those that end a text."""

    is_encoder: bool
    pooling: Pooling | None
    pooled: int
    is_classes: bool
    is_normalized: bool
    segments: int
    has_word_head: bool
    context: int
    labels: tuple[str, ...]
    prompts: Mapping[str, str]
    default_prompt: str | None
    between: tuple[int, ...] | None

    @property
    def embeds(self) -> bool:
        """Whether the file says which vector stands for a text, and it is no list of scores."""
        return self.pooled > 0 and not self.is_classes

    @property
    def ranks(self) -> bool:
        """Whether it is a cross encoder: one score for a query and a document together."""
        return self.is_classes and self.pooled == 1


def _prompts(text: object) -> Mapping[str, str]:
    found: Any = {}
    if isinstance(text, str):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelError("metadata `embedding.prompts` is no JSON object of texts; pack the model again")
    return MappingProxyType(found)


def read_encoder_info(model: Any, metadata: Mapping[str, MetadataValue]) -> EncoderInfo:
    """model: an rbe_model. Raises ModelError for metadata that are no prompts."""
    raw = _native.EncoderInfo(struct_bytes=ctypes.sizeof(_native.EncoderInfo))
    _native.check(_native.library().rbe_model_get_encoder_info(model, ctypes.byref(raw)))
    labels, default, between = (metadata.get(key) for key in ("labels", "embedding.default_prompt", "pair.between"))
    return EncoderInfo(
        is_encoder=bool(raw.is_encoder),
        pooling=next((name for name, number in POOLINGS.items() if number == raw.pooling), None),
        pooled=raw.n_pooled,
        is_classes=bool(raw.is_classes),
        is_normalized=bool(raw.is_normalized),
        segments=raw.n_segments,
        has_word_head=bool(raw.has_word_head),
        context=raw.context_tokens,
        labels=tuple(labels.split("\n")) if isinstance(labels, str) else (),
        prompts=_prompts(metadata.get("embedding.prompts")),
        default_prompt=default if isinstance(default, str) else None,
        between=between if isinstance(between, tuple) else None,
    )
