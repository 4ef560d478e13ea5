"""The part `experts`: a file that has it holds a mixture of experts, so that readers that know none refuse it
(docs/format.md, "Mixtures of experts")."""

from __future__ import annotations

from rbe_edge.format.parts import Part

PART = Part("experts", 1, b"", required=True)
