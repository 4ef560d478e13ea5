"""The required parts without data: a file that has one says in metadata and tensors what a reader that does not know
the part would leave out (docs/format.md, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rbe_edge.format.experts import expert_parts
from rbe_edge.format.layer_options import options_part
from rbe_edge.format.layer_shapes import layer_parts
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("encoder", 1, b"", required=True)
INNER_NORMS = Part("inner_norms", 1, b"", required=True)
ENCODER_DECODER = Part("encoder_decoder", 1, b"", required=True)
ATTENTION_GATE = Part("attention_gate", 1, b"", required=True)
LAYER_KINDS = Part("layer_kinds", 1, b"", required=True)


def needs_part(metadata: Mapping[str, MetadataValue], tensors: Iterable[str]) -> bool:
    """Whether a file of these tensors has it. Pooling alone, of a decoder, does not ask for it."""
    return (
        metadata.get("attention.direction") == "both"
        or metadata.get("norm.place") == "post"
        or any(metadata.get(key) for key in ("segments", "head.kind", "pooled.layers"))
        or "embedding.norm" in tensors
    )


def parts_of(metadata: Mapping[str, MetadataValue], tensors: Iterable[str]) -> list[Part]:
    """Those that a file of this metadata and these tensors has."""
    names = list(tensors)
    found = [PART] if needs_part(metadata, names) else []
    found += options_part(metadata)
    found += expert_parts(metadata)
    found += [ENCODER_DECODER] if metadata.get("encoder.layers") else []
    found += [LAYER_KINDS] if metadata.get("layer.kinds") else []
    found += layer_parts(metadata, names)
    found += [INNER_NORMS] if any(name.endswith(".inner_norm") for name in names) else []
    return [*found, ATTENTION_GATE] if any(name.endswith(".attention.gate") for name in names) else found
