"""Tensors of sources whose rows or columns stand elsewhere than in a file: read whole, and put in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbe_edge.sources.types import FloatArray, SourceTensor

_NO_DATA = np.empty((0, 0, 0), np.float32)  # what stands there cannot be read by its rows


@dataclass(frozen=True)
class PartOfHeads(SourceTensor):
    """Of each head the rows from `first` on, so many of `whole`'s."""

    whole: SourceTensor
    per_head: int
    first: int
    size: int

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        values = self.whole.read()
        heads = values.reshape(-1, self.per_head, *values.shape[1:])[:, self.first : self.first + self.size]
        return np.array(heads.reshape(self.shape)[(slice(None),) * axis + (slice(start, stop),)], np.float32)


def part_of_heads(tensor: SourceTensor, sizes: list[int], piece: int) -> SourceTensor:
    """tensor: of each head so many rows (of a vector: numbers) of several things; the one of number `piece`."""
    per_head, size = sum(sizes), sizes[piece]
    shape = (tensor.shape[0] // per_head * size, *tensor.shape[1:])
    name = f"{tensor.name}, part {piece + 1} of each head"
    return PartOfHeads(name, shape, tensor.kind, _NO_DATA, tensor, per_head, sum(sizes[:piece]), size)


@dataclass(frozen=True)
class Untiled(SourceTensor):
    """Value heads that stand in tiles: the first of each key head, then the second of each, and so on. They are read
    as those of one key head after those of another. They are the outputs from `first` on, or, with `of_columns`, all
    columns."""

    whole: SourceTensor
    key_heads: int
    per_key_head: int
    first: int
    of_columns: bool

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        stop = self.shape[0] if stop is None else stop
        values = self.whole.read(axis, start, stop)
        if self.of_columns:
            return np.ascontiguousarray(self._ordered(values.T).T)
        assert axis == 0 and (stop <= self.first or (start <= self.first and stop == self.shape[0])), self.name
        if stop > self.first:
            values[self.first - start :] = self._ordered(values[self.first - start :])
        return values

    def _ordered(self, rows: FloatArray) -> FloatArray:
        tiles = rows.reshape(self.per_key_head, self.key_heads, -1, *rows.shape[1:])
        return np.ascontiguousarray(tiles.swapaxes(0, 1)).reshape(rows.shape)


def untiled(
    tensor: SourceTensor, key_heads: int, per_key_head: int, first: int = 0, of_columns: bool = False
) -> SourceTensor:
    """As Untiled says. Their number divides what is to be ordered."""
    return Untiled(tensor.name, tensor.shape, tensor.kind, _NO_DATA, tensor, key_heads, per_key_head, first, of_columns)
