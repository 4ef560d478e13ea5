"""Binary and ternary types of GGUF files are packed without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf_models import write_gguf
from ternary_models import FloatArray, scored, scored_by, simple, wide

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source


@pytest.mark.parametrize(("kind", "binary"), [("TQ1_0", False), ("TQ2_0", False), ("Q1_0", True)])
def test_gguf_is_exact(tmp_path: Path, kind: str, binary: bool) -> None:
    """Also where embedding and head are of the type: nothing is then left for the trellis, nor for calibration."""
    gguf = pytest.importorskip("gguf")
    if kind not in gguf.GGMLQuantizationType.__members__:
        pytest.skip("this gguf does not know it")
    source = write_gguf(wide(), tmp_path / "m.gguf", random_blocks_of(kind))
    report = pack(source, tmp_path / "m.rbe")
    name = "binary" if binary else "ternary"
    kinds = {tensor.name: tensor.kind for tensor in report.tensors}
    assert sum(found == name for found in kinds.values()) == 16 and "trellis" not in kinds.values()
    planned = {tensor.name: tensor for tensor in plan_model(open_source(source)).tensors}
    with Model.open(report.path) as model:
        for tensor in report.tensors:
            np.testing.assert_array_equal(model.tensor_rows(tensor.name), planned[tensor.name].read())
            if tensor.kind == name:
                units = -(-tensor.rows // 64) * 64
                assert 8 * tensor.bytes <= (1.125 if binary else 1.6875) * units * tensor.cols
        found = scored_by(model)
    dense = scored(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path)
    assert np.abs(found - dense).max() < 0.05 * np.abs(dense).max()


def random_blocks_of(kind: str) -> Any:
    """Matrices of random codes, with a scale for each block; as the type's own dequantiser reads them."""
    import gguf

    number = gguf.GGMLQuantizationType[kind]

    def store(name: str, values: FloatArray) -> tuple[npt.NDArray[Any], int | None]:
        if values.ndim == 1:
            return values, None
        size = gguf.GGML_QUANT_SIZES[number][0]
        cut = simple(values, size, binary=kind == "Q1_0")
        if kind != "Q1_0":
            return gguf.quants.quantize(cut, number), number
        blocks = cut.reshape(len(cut), -1, size)
        scales = np.abs(blocks).max(2).astype("<f2")
        bits = np.packbits(blocks > 0, axis=2, bitorder="little")
        stored = np.concatenate([scales[:, :, None].view(np.uint8), bits], 2)
        return stored.reshape(len(cut), -1), number

    return store
