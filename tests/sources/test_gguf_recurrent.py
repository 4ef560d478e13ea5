"""What GGUF files of models with recurrent layers may say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from gguf_models import gguf_tensors, write_gguf
from tiny_models import MODELS

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan

pytest.importorskip("gguf")


def plan(path: Path) -> ModelPlan:
    return plan_model(open_source(path))


def weights(found: ModelPlan) -> dict[str, npt.NDArray[np.float32]]:
    return {tensor.name: tensor.read() for tensor in found.tensors}


@pytest.mark.parametrize(
    ("message", "name", "key", "value"),
    [
        ("ssm.state_size is missing", "qwen3_5", "ssm.state_size", None),
        ("linear_conv_kernel_dim = 33 is not supported", "qwen3_5", "ssm.conv_kernel", 33),
        ("5 heads do not share an inner width of 96", "qwen3_5", "ssm.time_step_rank", 5),
        ("4 .linear_num_key_heads. do not divide 6", "qwen3_5", "ssm.group_count", 4),
        ("recurrent_layers is .*, expected a list of 4", "qwen3_5", "attention.recurrent_layers", [True, False]),
        ("recurrent_layers is .*, expected a list of 4", "qwen3_5", "attention.recurrent_layers", ["no"] * 4),
        ("blk.0.attn_q.weight is missing", "qwen3_5", "attention.recurrent_layers", [False, True, True, False]),
        ("nextn_predict_layers = 4 of 4 blocks", "qwen3_5", "nextn_predict_layers", 4),
        ("blk.1.attn_q.weight is missing", "qwen3_5", "full_attention_interval", 2),
        ("a mixture of experts", "qwen3_5", "expert_count", 8),
        ("the configuration asks for .256, 64.", "qwen3_5", "ssm.inner_size", 192),
        ("nextn_predict_layers = 1 is not supported", "granite4", "nextn_predict_layers", 1),
        ("2 numbers of key heads for 4 layers", "granite4", "attention.head_count_kv", [0, 2]),
        ("an inner width of 136 is no multiple of 64", "granite4", "ssm.inner_size", 136),
        ("expert_used_count is 0", "granite4", "expert_count", 8),
        ("3 .mamba_n_groups. do not divide 8", "granite4", "ssm.group_count", 3),
    ],
)
def test_refused_keys(tmp_path: Path, message: str, name: str, key: str, value: Any) -> None:
    kind = {"qwen3_5": "qwen35", "granite4": "granitehybrid"}[name]
    path = write_gguf(MODELS[name], tmp_path / "m.gguf", changes={f"{kind}.{key}": value})
    with pytest.raises(PackError, match=message) as caught:
        plan(path)
    assert "\n" not in str(caught.value)


def test_blocks_that_guess_further_tokens_are_left_out(tmp_path: Path) -> None:
    model = MODELS["qwen3_5"]
    plain = plan(write_gguf(model, tmp_path / "plain.gguf"))
    more = {"blk.4.nextn.eh_proj.weight": np.zeros((64, 128), np.float32), "blk.4.attn_norm.weight": np.ones(64, "f4")}
    changes = {"qwen35.block_count": 5, "qwen35.nextn_predict_layers": 1}
    guessing = plan(write_gguf(model, tmp_path / "more.gguf", changes=changes, tensors={**gguf_tensors(model), **more}))
    assert guessing.metadata == plain.metadata
    assert [tensor.name for tensor in guessing.tensors] == [tensor.name for tensor in plain.tensors]


def test_a_list_of_the_recurrent_layers(tmp_path: Path) -> None:
    given = {"qwen35.attention.recurrent_layers": [True, True, True, False], "qwen35.full_attention_interval": None}
    found = plan(write_gguf(MODELS["qwen3_5"], tmp_path / "m.gguf", changes=given))
    assert found.metadata["layer.kinds"] == (2, 2, 2, 0)


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_next"])
def test_taps_of_three_dimensions(tmp_path: Path, name: str) -> None:
    """As in directories: read, or refused where value heads stand in tiles."""
    tensors = gguf_tensors(MODELS[name])
    plain = weights(plan(write_gguf(MODELS[name], tmp_path / "plain.gguf")))
    tensors["blk.0.ssm_conv1d.weight"] = tensors["blk.0.ssm_conv1d.weight"][:, None]
    path = write_gguf(MODELS[name], tmp_path / "m.gguf", tensors=tensors)
    if name == "qwen3_5":
        with pytest.raises(PackError, match=r"shape \[160, 1, 4\], the configuration asks for \[160, 4\]"):
            plan(path)
        return
    found = weights(plan(path))
    np.testing.assert_array_equal(found["layers.0.recurrence.v_taps"], plain["layers.0.recurrence.v_taps"])


def test_granite_with_rotary_positions(tmp_path: Path) -> None:
    """As llama.cpp computes them where the key is true, or missing."""
    for value in (True, None):
        changes = {"granitehybrid.rope.scaling.finetuned": value}
        path = write_gguf(MODELS["granite4"], tmp_path / "m.gguf", changes=changes)
        assert "position.rotary_layers" not in plan(path).metadata


def test_rates_that_are_positive_there(tmp_path: Path) -> None:
    tensors = gguf_tensors(MODELS["granite4"])
    assert (tensors["blk.0.ssm_a"] < 0).all()
    tensors["blk.0.ssm_a"] *= -1
    found = plan(write_gguf(MODELS["granite4"], tmp_path / "m.gguf", tensors=tensors))
    with pytest.raises(PackError, match=r"blk.0.ssm_a: holds rates that are not above 0"):
        weights(found)


def test_the_tiles_differ_from_the_published_order() -> None:
    """Value heads that were not put back in order could not pass the comparison of test_gguf.py."""
    ours, published = gguf_tensors(MODELS["qwen3_5"]), tiny_models.tensors(MODELS["qwen3_5"])
    places = {"attn_qkv": "in_proj_qkv", "attn_gate": "in_proj_z", "ssm_out": "out_proj", "ssm_beta": "in_proj_b"}
    for stored, name in places.items():
        other = published[f"model.layers.0.linear_attn.{name}.weight"]
        assert np.abs(ours[f"blk.0.{stored}.weight"] - other).max() > 0.1


@pytest.mark.parametrize("name", ["qwen3_5", "granite4"])
def test_quantised_matrices_are_put_in_the_same_order(tmp_path: Path, name: str) -> None:
    """Blocks of 32 weights: within what 8 bits lose."""
    exact = weights(plan(write_gguf(MODELS[name], tmp_path / "exact.gguf")))
    matrices = {"attn_qkv", "attn_gate", "ssm_in", "ssm_out", "attn_q"}
    import gguf

    def store(tensor: str, values: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        if tensor.split(".")[-2] not in matrices:
            return values, None
        number = gguf.GGMLQuantizationType.Q8_0
        return gguf.quants.quantize(values, number), number

    found = weights(plan(write_gguf(MODELS[name], tmp_path / "q8.gguf", store)))
    assert found.keys() == exact.keys()
    for tensor, values in found.items():
        np.testing.assert_allclose(values, exact[tensor], atol=0.02 * np.abs(exact[tensor]).max(), err_msg=tensor)
