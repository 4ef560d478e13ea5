"""The parts `experts` and `shared_expert`: a file that has one holds a mixture of experts, or a feed-forward part
beside them, so that readers that know none refuse it (docs/format.md, "Mixtures of experts")."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part

PART = Part("experts", 1, b"", required=True)
SHARED = Part("shared_expert", 1, b"", required=True)

_EXPERT = re.compile(r"layers\.\d+\.experts\.\d+\.")


def expert_parts(metadata: Mapping[str, MetadataValue]) -> list[Part]:
    """Those that a file of this metadata has."""
    found = [PART] if metadata.get("experts") else []
    return [*found, SHARED] if metadata.get("experts.shared") else found


def is_of_expert(name: str) -> bool:
    """Whether a tensor is a matrix of an expert. They are the last ones of a file, so that what every token reads lies
    together before them."""
    return _EXPERT.match(name) is not None
