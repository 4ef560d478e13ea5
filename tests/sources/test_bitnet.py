"""BitNet as it is published: packed matrices with a scale, and weights that are rounded when they are loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from safetensors.numpy import save_file
from ternary_models import scored, wide

from rbe_edge.errors import PackError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.open import open_source

FloatArray = npt.NDArray[np.float32]


def is_coded(name: str) -> bool:
    return name.endswith("_proj.weight")


def stored(values: FloatArray) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Four rows of codes in one of bytes, as transformers' pack_weights writes them, and the codes."""
    codes = np.clip(np.round(values / np.abs(values).mean()), -1, 1).astype(np.float32)
    quarters = (codes + 1).astype(np.uint8).reshape(4, len(values) // 4, -1)
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6, codes


def written(directory: Path, weights: dict[str, Any], **method: object) -> Path:
    tiny_models.write(wide("bitnet"), directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "bitnet", **method}})
    )
    save_file(weights, directory / "model.safetensors")
    return directory


def packed_weights(scale: float) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """What a file holds, and the codes of its matrices."""
    kept: dict[str, Any] = {}
    codes: dict[str, FloatArray] = {}
    for name, values in tiny_models.tensors(wide("bitnet")).items():
        if is_coded(name):
            kept[name], codes[name] = stored(values)
            kept[f"{name}_scale"] = np.array([scale], np.float32)
        else:
            kept[name] = values
    return kept, codes


@pytest.mark.parametrize(("linear_class", "factor"), [("autobitlinear", 0.375), ("bitlinear", 1 / 0.375)])
def test_packed(tmp_path: Path, linear_class: str, factor: float) -> None:
    """Read whole and in pieces; without loss behind the packer; and it answers as the same weights do."""
    kept, codes = packed_weights(0.375)
    directory = written(tmp_path / "source", kept, linear_class=linear_class, quantization_mode="offline")
    source = open_source(directory)
    assert not any(name.endswith("_scale") for name in source.tensors) and len(codes) == 14
    for name, found in codes.items():
        expected = found * np.float32(factor)
        np.testing.assert_array_equal(source.tensors[name].read(), expected)
        np.testing.assert_array_equal(source.tensors[name].read(0, 5, 67), expected[5:67])
    report = pack(directory, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none"))
    assert sum(tensor.kind == "ternary" for tensor in report.tensors) == 14
    plain = tiny_models.write(wide("bitnet"), tmp_path / "plain")
    weights = {name: codes[name] * np.float32(factor) if name in codes else kept[name] for name in source.tensors}
    tiny_models.write_safetensors(plain / "model.safetensors", weights)
    one, other = (
        scored(pack(path, tmp_path / f"{path.name}.rbe", PackOptions(bits=32)).path) for path in (directory, plain)
    )
    np.testing.assert_array_equal(one, other)


def test_packed_as_transformers_has_it() -> None:
    torch = pytest.importorskip("torch")
    bitnet = pytest.importorskip("transformers.integrations.bitnet")
    values = next(values for name, values in tiny_models.tensors(wide("bitnet")).items() if is_coded(name))
    packed, codes = stored(values)
    np.testing.assert_array_equal(bitnet.pack_weights(torch.from_numpy(codes.copy())).numpy(), packed)


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_rounded_when_loaded(tmp_path: Path, dtype: str) -> None:
    """To what transformers' own code makes of them."""
    torch = pytest.importorskip("torch")
    bitnet = pytest.importorskip("transformers.integrations.bitnet")
    weights = tiny_models.tensors(wide("bitnet"))
    directory = written(tmp_path / "source", weights, linear_class="autobitlinear", quantization_mode="online")
    tiny_models.write_safetensors(directory / "model.safetensors", weights, dtype)
    source = open_source(directory)
    torch.compiler.set_stance("force_eager")
    try:
        for name, tensor in source.tensors.items():
            values = torch.from_numpy(weights[name]).to(torch.bfloat16 if dtype == "BF16" else torch.float32)
            expected = bitnet.WeightQuant.apply(values) if is_coded(name) else values
            found = tensor.read()
            np.testing.assert_allclose(found, expected.float().numpy(), rtol=2e-7, atol=0)
            if is_coded(name):
                assert len(np.unique(np.abs(found))) == 2
                np.testing.assert_array_equal(tensor.read(0, 3, 40), found[3:40])
    finally:
        torch.compiler.set_stance("default")
    report = pack(directory, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none"))
    assert sum(tensor.kind == "ternary" for tensor in report.tensors) == 14


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"linear_class": "other"}, "linear_class = 'other' is not supported, only bitlinear and autobitlinear"),
        ({"quantization_mode": 7}, "quantization_mode = 7 is not supported"),
        ({"use_rms_norm": True}, "use_rms_norm = True is not supported"),
        ({"linear_class": "autobitlinear", "quantization_mode": "online", "modules_to_not_convert": ["x"]},
         "modules_to_not_convert"),
        ({"quant_method": "gptq"}, "the weights are quantized already"),
    ],
)  # fmt: skip
def test_what_is_not_computed(tmp_path: Path, method: dict[str, object], said: str) -> None:
    kept, _ = packed_weights(0.5)
    with pytest.raises(PackError, match=said) as caught:
        pack(written(tmp_path / "source", kept, **method), tmp_path / "m.rbe", PackOptions(bits=4))
    assert "\n" not in str(caught.value) and not (tmp_path / "m.rbe").exists()


@pytest.mark.parametrize("damage", ["scale of two", "scale in bytes", "three dimensions", "not packed", "rows"])
def test_matrices_that_are_none(tmp_path: Path, damage: str) -> None:
    kept, _ = packed_weights(0.5)
    name = next(name for name in kept if is_coded(name))
    if damage == "scale of two":
        kept[f"{name}_scale"] = np.ones(2, np.float32)
    elif damage == "scale in bytes":
        kept[f"{name}_scale"] = np.ones(1, np.uint8)
    elif damage == "three dimensions":
        kept[name] = kept[name][None]
    elif damage == "not packed":
        kept[name] = kept[name].astype(np.float32)
    else:
        kept[name] = kept[name][1:].copy()
    with pytest.raises(PackError) as caught:
        pack(written(tmp_path / "source", kept), tmp_path / "m.rbe", PackOptions(bits=4))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_bytes_that_are_no_matrix_of_a_bitnet(tmp_path: Path) -> None:
    """Such types are refused where no configuration says what they mean."""
    model = tiny_models.MODELS["llama"]
    weights: dict[str, Any] = dict(tiny_models.tensors(model))
    name = next(name for name in weights if is_coded(name))
    weights[name] = np.ones(weights[name].shape, np.uint8)
    source = tiny_models.write(dataclasses.replace(model), tmp_path / "source")
    save_file(weights, source / "model.safetensors")
    with pytest.raises(PackError, match="numbers of type U8 are not read"):
        pack(source, tmp_path / "m.rbe", PackOptions(bits=4))
