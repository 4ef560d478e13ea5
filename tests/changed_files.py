"""Files that say something else than the model they hold: other metadata, parts and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.format.parts import Part
from rbe_edge.format.writer import KIND_FP32, PackWriter, TensorEntry
from rbe_edge.packing import storage
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

Tensors = Mapping[str, npt.NDArray[np.float32]]

NOTHING = np.zeros((0, 0), np.float32)
"""In place of a tensor: the file lacks it."""


def write_changed(
    source: Path,
    out: Path,
    metadata: Mapping[str, Any],
    parts: Sequence[Part],
    tensors: Tensors | None = None,
    kinds: Mapping[str, int] | None = None,
) -> Path:
    """The model of a directory in fp32, but for tensors whose names end as a key of `kinds`. metadata: None removes a
    key. The file has these parts and no other."""
    plan = plan_model(open_source(source))
    values = {tensor.name: tensor.read() for tensor in plan.tensors} | dict(tensors or {})
    values = {name: array for name, array in values.items() if array.size}
    known = {key: value for key, value in {**plan.metadata, **metadata}.items() if value is not None}
    entries, data = [], []
    for name, array in values.items():
        kind = next((kind for ending, kind in (kinds or {}).items() if name.endswith(ending)), KIND_FP32)
        data.append(storage.dense_data(array, kind)[0])
        entries.append(TensorEntry(name, kind, *array.shape, data[-1].nbytes))
    with PackWriter(out, known, [], {}, entries, force=True, parts=parts) as file:
        for array in data:
            file.write_tensor([array], 0.0)
        file.commit(lasting=False)
    return out
