"""Rotary pairs of neighbours, (2d, 2d + 1) of each head, in the order of a `.rbe` file, (d, d + head_dim / 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.sources.types import FloatArray, SourceTensor


def rotary_order(outputs: int, heads: int, start: int, stop: int) -> npt.NDArray[np.intp]:
    """Where the outputs from start to stop of a file's order stand among neighbours; `heads` share `outputs`."""
    half = outputs // heads // 2
    head, place = np.divmod(np.arange(start, stop), 2 * half)
    part, pair = np.divmod(place, half)
    return np.asarray(2 * half * head + 2 * pair + part, np.intp)


@dataclass(frozen=True)
class OfNeighbours(SourceTensor):
    """A tensor whose outputs stand as neighbours; it is read in the order of a file."""

    heads: int = 1

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        assert axis == 0, f"{self.name} is read by its outputs"
        stop = self.shape[0] if stop is None else stop
        rows = self.data[rotary_order(self.shape[0], self.heads, start, stop)]
        return SourceTensor(self.name, rows.shape, self.kind, rows).read()


def of_neighbours(tensor: SourceTensor, heads: int) -> SourceTensor:
    return OfNeighbours(tensor.name, tensor.shape, tensor.kind, tensor.data, heads)
