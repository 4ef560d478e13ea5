"""The parts `encoder` and `encoder_decoder`: a file that has one says something of encoders, so that readers that know
none refuse it (docs/format.md, "Encoders")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rbe_edge.format.layer_shapes import layer_parts
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("encoder", 1, b"", required=True)
ENCODER_DECODER = Part("encoder_decoder", 1, b"", required=True)


def needs_part(metadata: Mapping[str, MetadataValue], tensors: Iterable[str]) -> bool:
    """Whether a file of these tensors has it. Pooling alone, of a decoder, does not ask for it."""
    return (
        metadata.get("attention.direction") == "both"
        or metadata.get("norm.place") == "post"
        or any(metadata.get(key) for key in ("segments", "head.kind", "pooled.layers"))
        or "embedding.norm" in tensors
    )


def parts_of(metadata: Mapping[str, MetadataValue], tensors: Iterable[str]) -> list[Part]:
    """The part, where a file has it; that of an encoder in front of a decoder, and those of layer_shapes.py."""
    tensors = list(tensors)
    found = [PART] if needs_part(metadata, tensors) else []
    found += layer_parts(metadata, tensors)
    return [*found, ENCODER_DECODER] if metadata.get("encoder.layers") else found
