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
from rbe_edge.errors import PackError
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


Q2_0 = 42


def q2_0(values: FloatArray, size: int, code_3: bool = False) -> npt.NDArray[np.uint8]:
    """Ternary values, of one size in each block, as ggml's type: d, and codes of -d, 0, d. code_3: d is half of it, and
    the codes are 0 (not -2 d, which there is not), 1 and 3."""
    blocks = values.reshape(len(values), -1, size)
    d = np.abs(blocks).max(2) / (2 if code_3 else 1)
    signs = np.sign(blocks).astype(np.int8)
    codes = np.where(signs > 0, 3, signs + 1) if code_3 else signs + 1
    fours = codes.astype(np.uint8).reshape(*blocks.shape[:2], -1, 4)
    packed = fours[..., 0] | fours[..., 1] << 2 | fours[..., 2] << 4 | fours[..., 3] << 6
    return np.concatenate([d[..., None].astype("<f2").view(np.uint8), packed], 2).reshape(len(values), -1)


def written_as_q2_0(
    path: Path, size: int, monkeypatch: pytest.MonkeyPatch, code_3: bool = False
) -> dict[str, FloatArray]:
    """What was written, by GGUF's names of the matrices."""
    gguf = pytest.importorskip("gguf")
    monkeypatch.setitem(gguf.GGML_QUANT_SIZES, Q2_0, (size, 2 + size // 4))
    kept: dict[str, FloatArray] = {}

    def store(name: str, values: FloatArray) -> tuple[npt.NDArray[Any], int | None]:
        if values.ndim == 1:
            return values, None
        kept[name] = simple(values, size, binary=False)
        return q2_0(kept[name], size, code_3), Q2_0

    write_gguf(wide(), path, store)
    return kept


@pytest.mark.parametrize("size", [64, 128])
def test_blocks_of_64_and_of_128(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Q2_0, which a file does not tell but by its size; without loss."""
    kept = written_as_q2_0(tmp_path / "m.gguf", size, monkeypatch)
    source = open_source(tmp_path / "m.gguf")
    assert len(kept) == 16
    for name, values in kept.items():
        np.testing.assert_array_equal(source.tensors[name].read(), values)
    report = pack(tmp_path / "m.gguf", tmp_path / "m.rbe")
    assert sum(tensor.kind == "ternary" for tensor in report.tensors) == 16
    for tensor in report.tensors:
        if tensor.kind == "ternary":
            assert 8 * tensor.bytes <= (1.625 + 16 / size) * -(-tensor.rows // 64) * 64 * tensor.cols


def test_q2_0_that_is_not_ternary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A code of 3 is twice d."""
    kept = written_as_q2_0(tmp_path / "m.gguf", 64, monkeypatch, code_3=True)
    for name, values in kept.items():
        expected = np.where(values < 0, values / 2, values)
        np.testing.assert_array_equal(open_source(tmp_path / "m.gguf").tensors[name].read(), expected)


def test_q2_0_whose_blocks_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_as_q2_0(tmp_path / "m.gguf", 64, monkeypatch)
    data = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(data[:-4096])
    with pytest.raises(PackError, match=r"Q2_0 have neither blocks of 64 weights nor blocks of 128.* truncated"):
        open_source(tmp_path / "m.gguf")


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
