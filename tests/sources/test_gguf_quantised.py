"""Quantised tensors of GGUF files: as package gguf and as ggml's own C code dequantise them, in part and in whole."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from gguf_models import gguf_tensors, permuted, write_gguf
from tiny_models import MODELS, TinyModel

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.gguf.own_type import OwnType, own_type
from rbe_edge.sources.gguf.tensors import GgufTensor
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

gguf = pytest.importorskip("gguf")

FloatArray = npt.NDArray[np.float32]

# ggml's functions, and where the fp16 scales lie in a block: random bytes there would be no numbers
FROM_GGML = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,), "IQ2_XXS": (0,), "IQ2_XS": (0,),
    "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,), "TQ1_0": (52,), "TQ2_0": (64,), "Q1_0": (0,),
}  # fmt: skip


def wide() -> TinyModel:
    """A Llama whose rows are whole blocks of 256 weights."""
    config = {**MODELS["llama"].config, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}
    return dataclasses.replace(MODELS["llama"], config=config)


def random_blocks(name: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.uint8]:
    """Random quantised rows with finite scales."""
    generator = np.random.default_rng(seed)
    weights, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = generator.integers(0, 256, (*shape[:-1], shape[-1] // weights, n_bytes), np.uint8)
    for place in FROM_GGML[name]:
        scales = generator.normal(0, 0.02, blocks.shape[:-1]).astype("<f2")
        blocks[..., place : place + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def ggml_dequantized(name: str, rows: npt.NDArray[np.uint8], weights: int) -> FloatArray:
    """What ggml's reference code (C) makes of the rows."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        pytest.skip("llama-cpp-python is not installed")
    library = next(iter(sorted(Path(found.origin).parent.glob("lib/*ggml-base*"))), None)
    if library is None:
        pytest.skip("llama-cpp-python brings no ggml library of its own")
    function = ctypes.CDLL(str(library))[f"dequantize_row_{name.lower().replace('_k', '_K')}"]
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    rows = np.ascontiguousarray(rows)
    values = np.empty(weights, np.float32)
    function(rows.ctypes.data, values.ctypes.data, weights)
    return values


@pytest.mark.parametrize("name", FROM_GGML)
def test_types(tmp_path: Path, name: str) -> None:
    """Every matrix of a model, in whole; the rows of q and k in the order of the `.rbe` format."""
    stored = {}

    def store(tensor: str, values: FloatArray) -> tuple[npt.NDArray[Any], int | None]:
        if values.ndim == 1:
            return values, None
        stored[tensor] = random_blocks(name, values.shape, len(stored))
        return stored[tensor], gguf.GGMLQuantizationType[name]

    path = write_gguf(wide(), tmp_path / "model.gguf", store)
    tensors = {tensor.source.name: tensor for tensor in plan_model(open_source(path)).tensors if tensor.source}
    assert len(stored) == 9
    for tensor, rows in stored.items():
        found = tensors[tensor].read()
        if tensor.startswith("blk.0.attn_q.") or tensor.startswith("blk.0.attn_k."):
            found = permuted(found, 4 if "q" in tensor else 2)  # back to how it lies in the file
        if name != "Q1_0":  # which package gguf names only
            np.testing.assert_array_equal(found, gguf.dequantize(rows, gguf.GGMLQuantizationType[name]))
        expected = ggml_dequantized(name, rows, found.size).reshape(found.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        assert tensors[tensor].source_kind == "fp32"


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_weights_survive(tmp_path: Path, name: str) -> None:
    """What package gguf quantised comes back with no more than that type's error."""
    path = write_gguf(MODELS["llama"], tmp_path / "model.gguf", name)
    exact = write_gguf(MODELS["llama"], tmp_path / "exact.gguf")
    pairs = zip(plan_model(open_source(path)).tensors, plan_model(open_source(exact)).tensors, strict=True)
    bits = int(name[1])
    for ours, theirs in pairs:
        one, other = ours.read().astype(np.float64), theirs.read().astype(np.float64)
        # uniform rounding over the range of a block of 32: a step of 2 / 2^bits of its largest weight
        assert ((one - other) ** 2).mean() <= 1.3 * (4**-bits / 3) * (other**2).max()


def test_a_fused_quantised_matrix_is_cut(tmp_path: Path) -> None:
    """q, k and v of Phi-3 lie in one matrix; each is read alone."""
    model = MODELS["phi3"]
    path = write_gguf(model, tmp_path / "model.gguf", "Q8_0")
    fused = gguf_tensors(model)["blk.1.attn_qkv.weight"]
    tensors = {tensor.name: tensor for tensor in plan_model(open_source(path)).tensors}
    whole = np.concatenate([tensors[f"layers.1.attention.{part}"].read() for part in "qkv"])
    expected = gguf.dequantize(gguf.quantize(fused, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(whole, expected)


def test_parts_of_rotary_matrices() -> None:
    """Any range of rows is that range of the whole, across the blocks in which it is read."""
    values = np.arange(48 * 3, dtype=np.float32).reshape(48, 3)
    tensor = GgufTensor("t", (48, 3), "fp32", permuted(values, 3), heads=3)
    bias = GgufTensor("b", (48,), "fp32", permuted(values[:, 0], 3), heads=3)
    for start, stop in ((0, None), (5, 41), (16, 17), (47, 48)):
        np.testing.assert_array_equal(tensor.read(0, start, stop), values[start:stop])
        np.testing.assert_array_equal(bias.read(0, start, stop), values[start:stop, 0])


def test_memory_stays_at_one_tensor() -> None:
    """Reading 4 million quantised weights takes their fp32 and little more."""
    kind = gguf.GGMLQuantizationType.Q4_K
    from rbe_edge.sources.gguf.tensors import _quantised_type

    data = random_blocks("Q4_K", (2048, 2048), 1)
    tensor = GgufTensor("t", (2048, 2048), "fp32", data, _quantised_type(int(kind)), heads=8)
    tensor.read(0, 0, 1)
    tracemalloc.start()
    values = tensor.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * values.nbytes


def test_a_quantised_model_packs(tmp_path: Path) -> None:
    """To a trellis; to 16 bits, which are fp16."""
    path = write_gguf(MODELS["llama"], tmp_path / "model.gguf", "Q8_0")
    for bits in (4, 16):
        report = pack(path, tmp_path / f"{bits}.rbe", PackOptions(bits=bits, calibrate="none", threads=1))
        down = next(tensor for tensor in report.tensors if tensor.name == "layers.0.feed_forward.down")
        assert down.kind == {4: "trellis", 16: "fp16"}[bits]


def test_types_that_are_not_read(tmp_path: Path) -> None:
    def store(name: str, values: FloatArray) -> tuple[npt.NDArray[Any], int | None]:
        if name == "blk.0.ffn_up.weight":
            return values.astype(np.float64), None
        return values, None

    with pytest.raises(PackError, match=r"blk\.0\.ffn_up\.weight is stored as type F64, which is not read; convert"):
        open_source(write_gguf(MODELS["llama"], tmp_path / "model.gguf", store))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F32, F16 and BF16 need no package; quantised tensors name the extra."""
    plain = write_gguf(MODELS["llama"], tmp_path / "plain.gguf", "BF16")
    quantised = write_gguf(MODELS["llama"], tmp_path / "quantised.gguf", "Q8_0")
    from rbe_edge.sources.gguf import tensors

    tensors._quantised_type.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    plan_model(open_source(plain))
    with pytest.raises(MissingExtra, match=r"needs the package gguf; install it with `pip install 'rbe-edge\[gguf\]'`"):
        open_source(quantised)


def test_the_type_that_weights_have_already(tmp_path: Path, smollm2: Path) -> None:
    assert own_type(open_source(tiny_models.write(MODELS["llama"], tmp_path / "dense"))) is None
    found = own_type(open_source(smollm2))
    assert found == OwnType(3, ("Q4_1",)), "enum llama_ftype has 3 for Q4_1"
    assert found.on_grid("Q4_1") and not found.on_grid("Q4_0") and not found.on_grid("Q4_1X")


def test_a_mixture_has_several(gemma: Path) -> None:
    """Widths of 640, which Q4_K cannot store, are in Q5_0."""
    found = own_type(open_source(gemma))
    assert found == OwnType(15, ("Q5_0", "Q4_K")), "enum llama_ftype has 15 for Q4_K_M"
    assert found.on_grid("Q4_K_M") and found.on_grid("Q4_K_S") and not found.on_grid("Q5_K_M")
