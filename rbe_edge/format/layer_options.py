"""The part `layer_options`: a file that has it says something of its layers that older readers would compute wrongly
(docs/format.md, "Layer options")."""

from __future__ import annotations

from collections.abc import Mapping

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("layer_options", 1, b"", required=True)
KEYS = (
    "position.rotary_layers", "attention.norm_span", "attention.norm_kind", "attention.norm_after_rope",
    "attention.temperature", "attention.temperature_tokens", "layer.parallel",
)  # fmt: skip


def options_part(metadata: Mapping[str, MetadataValue]) -> list[Part]:
    """The part, where a file of this metadata has it."""
    return [PART] if metadata.get("norm.place") == "after" or any(key in metadata for key in KEYS) else []
