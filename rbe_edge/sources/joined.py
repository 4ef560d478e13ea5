"""Tensors that a source keeps in pieces: one vector for each head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rbe_edge.sources.types import FloatArray, SourceTensor


@dataclass(frozen=True)
class Joined(SourceTensor):
    """Vectors one after the other, read as one."""

    pieces: Sequence[SourceTensor] = ()

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        whole = np.concatenate([piece.read().reshape(-1) for piece in self.pieces])
        return whole[start:stop]


def joined(name: str, pieces: Sequence[SourceTensor]) -> SourceTensor:
    """One vector of vectors of one kind of number; `data` holds none of it."""
    length = sum(math.prod(piece.shape) for piece in pieces)
    kinds = {piece.kind for piece in pieces}
    kind = kinds.pop() if len(kinds) == 1 else "fp32"
    return Joined(name, (length,), kind, pieces[0].data, pieces)
