"""The parts `layer_shapes` and `layer_embeddings`: layers of a file that has one differ in more than their windows, or
have embeddings of their own, so that readers that know no such layers refuse it (docs/format.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

LAYER_SHAPES = Part("layer_shapes", 1, b"", required=True)
LAYER_EMBEDDINGS = Part("layer_embeddings", 1, b"", required=True)

_KEYS = (
    "layer.head_dims", "layer.kv_heads", "layer.feed_forwards", "layer.shared_states", "layer.values_are_keys",
)  # fmt: skip


def layer_parts(metadata: Mapping[str, MetadataValue], tensors: Iterable[str]) -> list[Part]:
    """Those that a file of these tensors has."""
    several = any(key in metadata for key in _KEYS) or bool(metadata.get("attention.value_norm"))
    found = []
    if several or any(re.fullmatch(r"layers\.\d+\.scale", name) for name in tensors):
        found.append(LAYER_SHAPES)
    return [*found, LAYER_EMBEDDINGS] if metadata.get("layer_embedding.width") else found
