"""Names of bands: tensors `NAME#0`, `NAME#1`, ... that together are the rows of the matrix NAME (docs/format.md,
"Bands")."""

from __future__ import annotations

from rbe_edge.format.parts import Part

PART = Part("bands", 1, b"", required=True)
"""A file with bands has it, so that readers that do not join them refuse the file."""

_MARK = "#"


def band_name(matrix: str, number: int) -> str:
    """Of a band of a matrix, counted from 0."""
    return f"{matrix}{_MARK}{number}"


def is_band(name: str) -> bool:
    """Whether a tensor is a band."""
    return _MARK in name


def matrix_of(name: str) -> str:
    """The name of the matrix that a band belongs to; any other name as it is."""
    return name.partition(_MARK)[0]
