"""A model with all tensors in fp32, which the engine runs while matrices in it are replaced by what was encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.format import writer
from rbe_edge.format.encoder import parts_of
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.packing import storage
from rbe_edge.packing.forecast import Forecast
from rbe_edge.sources.plan import ModelPlan

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DenseCopy:
    """A .rbe file with all tensors in fp32, made to be changed. areas: offset and bytes of each tensor's data in it."""

    path: Path
    areas: Mapping[str, tuple[int, int]]

    @property
    def weights(self) -> dict[str, int]:
        """How many each tensor has."""
        return {name: n_bytes // 4 for name, (_, n_bytes) in self.areas.items()}

    @property
    def lm_head(self) -> str:
        """The name of the matrix that gives the logits."""
        return "head" if "head" in self.areas else "embedding"

    def read(self, name: str) -> FloatArray:
        """The weights of a tensor as they are now, float32 [n], mapped."""
        offset, n_bytes = self.areas[name]
        return np.memmap(self.path, np.float32, "r", offset, (n_bytes // 4,))

    def write(self, name: str, weights: FloatArray) -> None:
        """Replaces a tensor by numbers, float32 [rows][cols]. An engine that has the file mapped sees them at once; it
        must not be running."""
        offset, n_bytes = self.areas[name]
        data = np.ascontiguousarray(weights, dtype="<f4").data.cast("B")
        assert len(data) == n_bytes, name
        with self.path.open("r+b", buffering=0) as file:
            file.seek(offset)
            while data:
                data = data[file.write(data) :]

    def write_rows(self, name: str, rows: npt.NDArray[np.int64], values: FloatArray) -> None:
        """Replaces rows of a matrix by float32 [n][cols], as write()."""
        offset, n_bytes = self.areas[name]
        cols = values.shape[1]
        whole = np.memmap(self.path, "<f4", "r+", offset, (n_bytes // 4 // cols, cols))
        whole[rows] = values
        whole.flush()


def make(
    path: Path,
    plan: ModelPlan,
    metadata: Mapping[str, MetadataValue],
    blobs: Mapping[str, bytes],
    forecast: Forecast,
) -> DenseCopy:
    """Writes the copy of a model. forecast: is told after every tensor. Memory: one tensor. Raises PackError where the
    file cannot be written."""
    stores = [storage.dense(tensor, 32) for tensor in plan.tensors]
    entries = [storage.entry(tensor, store) for tensor, store in zip(plan.tensors, stores, strict=True)]
    total = sum(tensor.rows * tensor.cols for tensor in plan.tensors)
    parts = parts_of(metadata, [tensor.name for tensor in plan.tensors])
    with (
        writer.PackWriter(path, metadata, [], blobs, entries, parts=parts) as file,
        forecast.doing("copying", "reading weights", total / 1e9) as report,
    ):
        done = 0
        for tensor, store in zip(plan.tensors, stores, strict=True):
            data, error = storage.data_of(tensor, store)
            file.write_tensor([data], error)
            done += tensor.rows * tensor.cols
            report(done, total)
        file.commit(lasting=False)
        areas = {entry.name: (file.offset(entry.name), entry.n_bytes) for entry in entries}
        return DenseCopy(path, areas)
