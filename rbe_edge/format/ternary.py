"""The part `ternary`: a file with binary or ternary matrices has it, so that readers that know none refuse it
(docs/format.md, "Groups")."""

from __future__ import annotations

from collections.abc import Iterable

from rbe_edge.codes.grouped import Code as Code
from rbe_edge.format.parts import Part
from rbe_edge.format.writer import KIND_BINARY, KIND_TERNARY, TensorEntry

PART = Part("ternary", 1, b"", required=True)


def ternary_parts(entries: Iterable[TensorEntry]) -> list[Part]:
    """The part, where a file of these tensors has it."""
    return [PART] if any(entry.kind in (KIND_TERNARY, KIND_BINARY) for entry in entries) else []
