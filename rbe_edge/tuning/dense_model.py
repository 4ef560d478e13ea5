"""A model with all its weights decoded, which gradients run on and whose rows change from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.format import writer
from rbe_edge.format.encoder import parts_of
from rbe_edge.format.reader import read_file
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.progress import Report
from rbe_edge.runtime.model import Model

FloatArray = npt.NDArray[np.float32]

_PIECE = 1 << 24  # weights in memory at a time


def pieces(rows: int, cols: int) -> Iterator[slice]:
    """Rows of a matrix that are in memory at a time."""
    step = max(1, _PIECE // cols)
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def write_dense(model: Model, path: Path, report: Report) -> DenseCopy:
    """All tensors in fp32, as the engine decodes them, matrices in bands as one; all else of the file but its parts.
    report: counts weights. Memory: 64 MB. Raises PackError where there is no room."""
    stored = read_file(Path(model.info.path))
    shapes = {name: (tensor.rows, tensor.cols) for name, tensor in model.tensors.items()}
    entries = [
        writer.TensorEntry(name, writer.KIND_FP32, rows, cols, 4 * rows * cols) for name, (rows, cols) in shapes.items()
    ]
    total = sum(rows * cols for rows, cols in shapes.values())
    done = 0
    parts = parts_of(stored.metadata, shapes)
    with writer.PackWriter(path, stored.metadata, [], stored.blobs, entries, parts=parts) as file:

        def decoded(name: str) -> Iterator[FloatArray]:
            nonlocal done
            rows, cols = shapes[name]
            for piece in pieces(rows, cols):
                values = model.tensor_rows(name, piece.start, piece.stop - piece.start)
                yield values
                done += values.size
                report(done, total)

        for name in shapes:
            file.write_tensor(decoded(name), 0.0)
        file.commit(lasting=False)
        return DenseCopy(path, {entry.name: (file.offset(entry.name), entry.n_bytes) for entry in entries})


def scale_rows(copy: DenseCopy, name: str, factors: FloatArray) -> None:
    """Multiplies the rows of a matrix in the copy, float32 [rows]. An engine that has it mapped sees it at once; it
    must not be running."""
    offset, n_bytes = copy.areas[name]
    rows = len(factors)
    weights = np.memmap(copy.path, np.float32, "r+", offset, (rows, n_bytes // 4 // rows))
    for piece in pieces(*weights.shape):
        weights[piece] *= factors[piece, None]
