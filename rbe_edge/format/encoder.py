"""The parts `encoder`, `encoder_decoder` and `inner_norms`: a file that has one says something of encoders, or of norms
inside blocks, so that readers that know none of it refuse it (docs/format.md, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("encoder", 1, b"", required=True)
INNER_NORMS = Part("inner_norms", 1, b"", required=True)
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
    """The part, where a file has it; that of an encoder in front of a decoder; and that of norms before the last
    matrices of blocks."""
    names = tuple(tensors)
    found = [PART] if needs_part(metadata, names) else []
    found += [ENCODER_DECODER] if metadata.get("encoder.layers") else []
    return [*found, INNER_NORMS] if any(name.endswith(".inner_norm") for name in names) else found
