"""The part `experts`: a file that has it holds a mixture of experts, so that readers that know none refuse it
(docs/format.md, "Mixtures of experts")."""

from __future__ import annotations

import re

from rbe_edge.format.parts import Part

PART = Part("experts", 1, b"", required=True)

_EXPERT = re.compile(r"layers\.\d+\.experts\.\d+\.")


def is_of_expert(name: str) -> bool:
    """Whether a tensor is a matrix of an expert. They are the last ones of a file, so that what every token reads lies
    together before them."""
    return _EXPERT.match(name) is not None
