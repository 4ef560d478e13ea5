"""Which numbers of a packed model are tuned, and how a parameter changes each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.model_info import TRELLIS_KINDS
from rbe_edge.tuning.dense_model import scale_rows

FloatArray = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

_LEAST_BIAS = 1e-3
"""The unit in which a bias moves is its root mean square; this where it is all but zero."""

_LEAST_RATE = 1e-30
"""Rates are above 0 in a file. By this one nothing is forgotten."""


@dataclass(frozen=True)
class Changes:
    """What stands in for parts of a model. gains: by matrix, a factor per row. vectors: by vector, its new values."""

    gains: Mapping[str, FloatArray] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)


class Parameters:
    """One number x for each row of a trellis matrix and each entry of a vector in fp32, all zero at first.

    They are relative, so that one learning rate serves all: a row or a norm's weight w becomes w (1 + x), a bias b
    becomes b + x rms(b). A rate stays above 0. Rows of the output are not rotated, so the gain of a row is that of its
    row scales.

    values: float64 [count]; places: where those of a tensor stand in it.
    """

    def __init__(self, model: Model) -> None:
        self._base: dict[str, Values] = {}  # the vectors as packed
        self._units: dict[str, Values] = {}
        self.places: dict[str, slice] = {}
        self.count = 0
        for name, tensor in model.tensors.items():
            size = tensor.rows
            if tensor.kind not in TRELLIS_KINDS:
                if tensor.kind != "fp32" or tensor.rows != 1 or name.startswith("rope."):
                    continue
                base = model.tensor_rows(name)[0].astype(np.float64)
                size = len(base)
                self._base[name] = self._units[name] = base
                if name.endswith(".bias"):
                    mean = float(np.add.reduce(base * base)) / size
                    self._units[name] = np.full(size, max(np.sqrt(mean), _LEAST_BIAS))
            self.places[name] = slice(self.count, self.count + size)
            self.count += size
        self.values: Values = np.zeros(self.count)
        self._written = self.values.copy()  # what the copy has

    def is_matrix(self, name: str) -> bool:
        return name in self.places and name not in self._base

    def gains(self, name: str, first: int = 0, n: int | None = None) -> Values:
        """1 + x of rows of a matrix."""
        gains = 1.0 + self.values[self.places[name]]
        return gains[first:] if n is None else gains[first : first + n]

    def changes(self) -> Changes:
        """What the values mean, in single precision."""
        gains = {name: self.gains(name).astype(np.float32) for name in self.places if self.is_matrix(name)}
        return Changes(gains, {name: self._vector(name) for name in self._base})

    def _vector(self, name: str) -> FloatArray:
        moved: Values = self._base[name] + self._units[name] * self.values[self.places[name]]
        if name.endswith(".rate"):
            moved = np.maximum(moved, _LEAST_RATE)
        return moved.astype(np.float32)

    def add(self, total: Values, gradient: Gradient) -> None:
        """total [count] += the gradient by x of what the engine shows."""
        place = self.places.get(gradient.name)
        if place is None:
            return
        if gradient.x is None:
            total[place] += self._units[gradient.name] * gradient.d
        elif gradient.name in self._base:  # a matrix of one row, such as the share of a shared expert
            total[place] += self._units[gradient.name] * np.add.reduce(gradient.d * gradient.x.astype(np.float64))
        elif gradient.gains is not None:
            n = len(gradient.gains)
            first = place.start + gradient.first_row
            total[first : first + n] += gradient.gains / self.gains(gradient.name, gradient.first_row, n)

    def add_rows(
        self, total: Values, name: str, rows: npt.NDArray[np.intp], d: FloatArray, looked_up: FloatArray
    ) -> None:
        """The same of rows of a table that were looked up, which gave looked_up [n][width] as the copy has it; d: the
        gradient by that."""
        if self.is_matrix(name):
            along = np.add.reduce(d.astype(np.float64) * looked_up, axis=1)
            np.add.at(total[self.places[name]], rows, along / self.gains(name)[rows])

    def write(self, copy: DenseCopy) -> None:
        """Brings the copy to the values. Matrices go from one to the next by the ratio of their gains, which rounds by
        1e-7 each time: a row scale in fp16 rounds by 2e-4."""
        for name, place in self.places.items():
            if self.is_matrix(name):
                ratio = self.gains(name) / (1.0 + self._written[place])
                scale_rows(copy, name, ratio.astype(np.float32))
            else:
                copy.write(name, self._vector(name))
        self._written = self.values.copy()
