"""Which matrices of a source are binary or ternary: they are stored as they are, and no bits are decided for them
(docs/format.md, "Groups")."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rbe_edge.codes import grouped
from rbe_edge.packing import storage
from rbe_edge.progress import Progress
from rbe_edge.sources.plan import ModelPlan, TensorPlan
from rbe_edge.sources.types import FloatArray

_FIRST_ROWS = 8  # which nearly always tell that a matrix is another
_PIECE = 1 << 22  # weights in memory at a time


def with_grouped(plan: ModelPlan, progress: Progress | None = None) -> ModelPlan:
    """The plan, with the code of each binary or ternary matrix. Reads these whole, and of others the first rows where
    they can be read apart. progress: is told the name before each that is read whole. Raises PackError where weights
    are not finite."""

    def coded(tensor: TensorPlan) -> TensorPlan:
        return dataclasses.replace(tensor, grouped=_code_of(tensor, progress))

    return dataclasses.replace(plan, tensors=tuple(map(coded, plan.tensors)))


def _code_of(tensor: TensorPlan, progress: Progress | None) -> grouped.Code | None:
    if tensor.role not in storage.CODED_ROLES or tensor.source is None or tensor.rows < 2:
        return None
    pieces = _pieces(tensor)
    first = next(pieces)
    if not first.any():  # the weights may not be there yet
        return None
    if grouped.find([first], tensor.rows, tensor.cols) is None:
        return None
    if progress is not None:
        progress.tell(tensor.name)
    return grouped.find(_pieces(tensor), tensor.rows, tensor.cols)


def _pieces(tensor: TensorPlan) -> Iterator[FloatArray]:
    """All rows, some at a time where the source lets them be read apart, and then few first."""
    source = tensor.source
    assert source is not None
    if tensor.transposed or tensor.head_order or tensor.axis != 0 or len(source.shape) != 2 or source.data.ndim != 2:
        yield tensor.read()
        return
    first, step = 0, _FIRST_ROWS
    while first < tensor.rows:
        rows = min(step, tensor.rows - first)
        start = tensor.start + first
        yield dataclasses.replace(tensor, rows=rows, start=start, stop=start + rows).read()
        first, step = first + rows, max(_PIECE // tensor.cols, _FIRST_ROWS)
