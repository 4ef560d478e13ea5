"""The parts `encoder`, `encoder_decoder` and `layer_kinds`: a file that has one says something of encoders, or of
layers of several kinds, so that readers that know none refuse it (docs/format.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("encoder", 1, b"", required=True)
ENCODER_DECODER = Part("encoder_decoder", 1, b"", required=True)
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
    """The part, where a file has it; those of an encoder in front of a decoder, and of layers of several kinds."""
    found = [PART] if needs_part(metadata, tensors) else []
    found += [ENCODER_DECODER] if metadata.get("encoder.layers") else []
    return [*found, LAYER_KINDS] if metadata.get("layer.kinds") else found
