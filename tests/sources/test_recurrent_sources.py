"""From configurations and tensors of models with recurrent layers to plans, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_mapping
import tiny_models
import tiny_recurrent
from test_mapping import plan
from tiny_models import MODELS, TinyModel

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source


@pytest.mark.parametrize(
    ("message", "name", "changes"),
    [
        ("type 'sliding_attention' are not supported .supported: linear_attention and full_attention", "qwen3_5",
         {"layer_types": ["sliding_attention"] * 4}),
        ("a list of 4 strings", "qwen3_5", {"layer_types": ["full_attention"]}),
        ("attn_output_gate = False", "qwen3_5", {"attn_output_gate": False}),
        ("hidden_act = 'gelu'", "qwen3_5", {"hidden_act": "gelu"}),
        ("linear_conv_kernel_dim = 33 is not supported, only up to 32", "qwen3_5", {"linear_conv_kernel_dim": 33}),
        ("linear_key_head_dim = 513 is not supported", "qwen3_5", {"linear_key_head_dim": 513}),
        ("linear_value_head_dim = 1024 is not supported", "qwen3_5", {"linear_value_head_dim": 1024}),
        ("linear_num_value_heads = 4098 is not supported", "qwen3_5", {"linear_num_value_heads": 4098}),
        ("4 .linear_num_key_heads. do not divide 6 .linear_num_value_heads.", "qwen3_5", {"linear_num_key_heads": 4}),
        ("in_proj_qkv.weight: shape .160, 64., the configuration asks for .176, 64.", "qwen3_5",
         {"linear_num_value_heads": 4, "linear_value_head_dim": 28}),
        ("q_proj.weight: shape .192, 64., the configuration asks for .256, 64.", "qwen3_5", {"head_dim": 32}),
        ("self_attn.k_proj.bias is missing", "qwen3_5", {"attention_bias": True}),
        ("mixture of experts .num_experts", "qwen3_5", {"num_experts": 8}),
        ("num_experts_per_tok is 0", "granite4", {"num_local_experts": 64}),
        ("router.layer.weight is missing", "granite4", {"num_local_experts": "absent", "num_experts_per_tok": 2}),
        ("mamba_proj_bias = True", "granite4", {"mamba_proj_bias": True}),
        ("hidden_act = 'gelu'", "granite4", {"hidden_act": "gelu"}),
        ("time_step_limit = .0.001, 0.1. is not supported", "granite4", {"time_step_limit": [0.001, 0.1]}),
        ("time_step_limit = 7 is not supported", "granite4", {"time_step_limit": 7}),
        ("8 heads .mamba_n_heads. of 8 .mamba_d_head. are not the inner width, 128", "granite4", {"mamba_d_head": 8}),
        ("3 .mamba_n_groups. do not divide 8", "granite4", {"mamba_n_groups": 3}),
        ("mamba_d_state = 1024 is not supported", "granite4", {"mamba_d_state": 1024}),
        ("mamba_conv_bias is 'no'", "granite4", {"mamba_conv_bias": "no"}),
        ("layers of type 'conv' are not supported", "granite4", {"layer_types": ["conv"] * 4}),
        ("mamba_expand is -1", "granite4", {"mamba_expand": -1}),
        ("shared_intermediate_size is 0", "granite4", {"shared_intermediate_size": 0}),
        ("residual_multiplier is 0", "granite4", {"residual_multiplier": 0}),
    ],
)  # fmt: skip
def test_refused_configurations(tmp_path: Path, message: str, name: str, changes: dict[str, Any]) -> None:
    test_mapping.refused(tmp_path, message, name, **changes)


def test_metadata_of_recurrent_layers(tmp_path: Path) -> None:
    found = plan(tmp_path / "q", "qwen3_5").metadata
    recurrent = {key.removeprefix("recurrence."): value for key, value in found.items() if "recurrence" in key}
    assert recurrent == {"key_heads": 2, "value_heads": 6, "key_dim": 16, "value_dim": 16, "taps": 4}
    assert found["layer.kinds"] == (2, 2, 2, 0)
    assert plan(tmp_path / "e", "qwen3_5_even").metadata["layer.kinds"] == (2, 0, 2, 0), "by full_attention_interval"
    found = plan(tmp_path / "g", "granite4").metadata
    assert found["layer.kinds"] == (3, 3, 0, 3)
    assert found["position.rotary_layers"] == (0, 0, 0, 0)
    assert (found["recurrence.epsilon"], found["norm.epsilon"]) == (1e-3, 1e-3 / 0.4**2)
    assert "recurrence.epsilon" not in plan(tmp_path / "n", "granite4_groups").metadata, "no factor divides the stream"
    rope = plan(tmp_path / "r", "granite4_rope").metadata
    assert not {"layer.kinds", "position.rotary_layers", "recurrence.taps"} & rope.keys()
    assert plan(tmp_path / "all", "granite4_groups", layer_types=None, num_hidden_layers=1).metadata["layer.kinds"] == (
        3,
    )
    for limit in (None, [0.0, float("inf")], [0, {"__float__": "Infinity"}]):
        assert (
            plan(tmp_path / "limit", "granite4", time_step_limit=limit).metadata == plan(tmp_path, "granite4").metadata
        )


def test_where_the_pieces_of_recurrent_layers_go(tmp_path: Path) -> None:
    """What the source holds in one tensor, and of each head one after the other."""
    weights = tiny_models.tensors(MODELS["qwen3_5"])
    found = {tensor.name: tensor for tensor in plan(tmp_path / "q", "qwen3_5").tensors}
    qkv = weights["model.layers.1.linear_attn.in_proj_qkv.weight"]
    taps = weights["model.layers.1.linear_attn.conv1d.weight"]
    for part, place in (("q", slice(0, 32)), ("k", slice(32, 64)), ("v", slice(64, 160))):
        np.testing.assert_array_equal(found[f"layers.1.recurrence.{part}"].read(), qkv[place])
        np.testing.assert_array_equal(found[f"layers.1.recurrence.{part}_taps"].read(), taps[place, 0])
    heads = weights["model.layers.3.self_attn.q_proj.weight"].reshape(4, 48, 64)
    np.testing.assert_array_equal(found["layers.3.attention.q"].read(), heads[:, :24].reshape(96, 64))
    np.testing.assert_array_equal(found["layers.3.attention.gate"].read(), heads[:, 24:].reshape(96, 64))
    rates = found["layers.0.recurrence.rate"]
    logarithms = weights["model.layers.0.linear_attn.A_log"].tolist()
    np.testing.assert_array_equal(rates.read()[0], np.array([math.exp(x) for x in logarithms], np.float32))
    gated, norm = (found[f"layers.0.recurrence.{name}"].read()[0] for name in ("gated_norm", "norm"))
    np.testing.assert_array_equal(gated, weights["model.layers.0.linear_attn.norm.weight"])
    np.testing.assert_array_equal(norm, weights["model.layers.0.input_layernorm.weight"] + np.float32(1))
    inner = tiny_models.tensors(MODELS["granite4"])["model.layers.0.mamba.in_proj.weight"]
    found = {tensor.name: tensor for tensor in plan(tmp_path / "g", "granite4").tensors}
    places = {"gate": (0, 128), "v": (128, 256), "k": (256, 280), "q": (280, 304), "decay": (304, 312)}
    for part, (first, end) in places.items():
        np.testing.assert_array_equal(found[f"layers.0.recurrence.{part}"].read(), inner[first:end])
    assert found["layers.0.recurrence.decay"].role == "decay"
    shared = {found[f"layers.0.recurrence.{part}"].reads for part in ("q", "k", "v", "gate")}
    assert shared == {"layers.0.recurrence.input"}


@pytest.mark.parametrize("value", [200.0, -200.0])
def test_rates_that_no_decay_comes_of(tmp_path: Path, value: float) -> None:
    """Beyond fp32, and 0."""
    model, name = MODELS["qwen3_5"], "model.layers.0.linear_attn.A_log"
    source = tiny_models.write(model, tmp_path)
    weights = tiny_models.tensors(model)
    weights[name][1] = value
    tiny_models.write_safetensors(source / "model.safetensors", weights)
    rate = next(
        tensor for tensor in plan_model(open_source(source)).tensors if tensor.name.endswith("0.recurrence.rate")
    )
    with pytest.raises(PackError, match=f"{name}: holds rates that are not above 0"):
        rate.read()


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe"])
@pytest.mark.parametrize("outer", [{}, {"tie_word_embeddings": None}])
def test_models_of_qwen_that_also_see(tmp_path: Path, name: str, outer: dict[str, Any]) -> None:
    """Their language part. Where the whole model does not say whether the head is tied, this does."""
    text = MODELS[name]
    config = tiny_recurrent.seeing(text.config) | {"model_type": name} | outer
    model = TinyModel(name, config, "model.language_model.", extra=tiny_recurrent.BESIDE)
    found = plan_model(open_source(tiny_models.write(model, tmp_path / "sees")))
    alone = plan(tmp_path / "alone", name)
    assert found.metadata == alone.metadata
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in alone.tensors]
    assert len(found.notes) == 2 and "mtp.fc.weight" in found.notes[1]


def test_what_qwen3_next_has_in_one(tmp_path: Path) -> None:
    """Of each of 2 key heads q and k of 16 rows, v and z of 3 value heads of 16; beta and decay of these."""
    weights = tiny_models.tensors(MODELS["qwen3_next"])
    found = {tensor.name: tensor for tensor in plan(tmp_path, "qwen3_next").tensors}
    heads = weights["model.layers.1.linear_attn.in_proj_qkvz.weight"].reshape(2, 128, 64)
    for part, place in {"q": (0, 16), "k": (16, 32), "v": (32, 80), "gate": (80, 128)}.items():
        ours = found[f"layers.1.recurrence.{part}"].read()
        np.testing.assert_array_equal(ours, heads[:, slice(*place)].reshape(-1, 64))
    numbers = weights["model.layers.1.linear_attn.in_proj_ba.weight"].reshape(2, 2, 3, 64)
    for piece, part in enumerate(("beta", "decay")):
        np.testing.assert_array_equal(found[f"layers.1.recurrence.{part}"].read(), numbers[:, piece].reshape(6, 64))
