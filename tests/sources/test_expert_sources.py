"""Mixtures of experts in published files: what their configurations mean, and experts that lie in one tensor."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from gguf_models import gguf_tensors, write_gguf
from test_mapping import plan, refused
from tiny_models import MODELS

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan

Fuse = Callable[[str, list[np.ndarray]], dict[str, np.ndarray]]


def test_metadata(tmp_path: Path) -> None:
    found = plan(tmp_path / "q", "qwen3_moe_mixed").metadata
    assert {key: value for key, value in found.items() if key.startswith("experts")} == {
        "experts": 6, "experts.used": 2, "experts.feed_forward": 48, "experts.score": "softmax",
        "experts.normalize": 0, "experts.layers": (0, 1),
    }  # fmt: skip
    assert found["feed_forward"] == 96  # of the layer without experts
    found = plan(tmp_path / "l", "lfm2_moe").metadata
    assert {key: value for key, value in found.items() if key.startswith("experts")} == {
        "experts": 6, "experts.used": 2, "experts.feed_forward": 48, "experts.score": "sigmoid",
        "experts.normalize": 1, "experts.scale": 1.5, "experts.layers": (0, 1, 1),
    }  # fmt: skip
    assert "experts.layers" not in plan(tmp_path / "a", "qwen3_moe").metadata
    steps = plan(tmp_path / "s", "qwen3_moe_mixed", decoder_sparse_step=2, mlp_only_layers=[])
    assert steps.metadata["experts.layers"] == (0, 1)
    both = plan(tmp_path / "n", "qwen3_moe", num_experts="absent", num_local_experts=6)
    assert both.metadata["experts"] == 6


def test_a_shared_part(tmp_path: Path) -> None:
    found = plan(tmp_path / "q", "qwen2_moe_mixed")
    assert found.metadata["experts.shared"] == 40 and found.metadata["experts.shared.share"] == 1
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert tensors["layers.1.shared.share"].role == "router" and "layers.0.shared.share" not in tensors
    assert tensors["layers.1.shared.gate"].reads == tensors["layers.1.shared.up"].reads
    found = plan(tmp_path / "g", "granitemoeshared")
    assert found.metadata["experts.shared"] == 56 and "experts.shared.share" not in found.metadata
    assert found.notes == ()
    both = tiny_models.tensors(MODELS["granitemoeshared"])["model.layers.1.shared_mlp.input_linear.weight"]
    shared = {tensor.name: tensor for tensor in found.tensors if ".shared." in tensor.name}
    assert len(shared) == 2 * 3
    np.testing.assert_array_equal(shared["layers.1.shared.gate"].read(), both[:56])
    np.testing.assert_array_equal(shared["layers.1.shared.up"].read(), both[56:])
    none = plan(tmp_path / "n", "granitemoeshared", shared_intermediate_size=0)
    assert not any(".shared" in name for name in [*none.metadata, *(tensor.name for tensor in none.tensors)])
    assert "4 tensors have no place" in none.notes[0]
    for number, name in enumerate(("qwen2_moe", "granite4_moe")):
        key = "shared_expert_intermediate_size" if name == "qwen2_moe" else "shared_intermediate_size"
        none = plan(tmp_path / str(number), name, **{key: 0})
        assert not any(".shared" in name for name in [*none.metadata, *(tensor.name for tensor in none.tensors)])


def test_a_router_of_one_row(tmp_path: Path) -> None:
    """A share may have one; the router of several experts may not."""
    source = tiny_models.write(MODELS["qwen2_moe"], tmp_path)
    name = "model.layers.1.mlp.gate.weight"
    weights = tiny_models.tensors(MODELS["qwen2_moe"])
    tiny_models.write_safetensors(source / "model.safetensors", {**weights, name: weights[name][:1]})
    with pytest.raises(PackError, match=r"gate.weight: shape \[1, 64\], the configuration asks for \[6, 64\]"):
        plan_model(open_source(source))


def test_windows_of_qwen2_moe(tmp_path: Path) -> None:
    """Every second one of the first layers."""
    changes: dict[str, Any] = {"use_sliding_window": True, "max_window_layers": 2}
    assert plan(tmp_path / "w", "qwen2_moe", **changes).metadata["attention.windows"] == (8, 0)
    changes["layer_types"] = ["full_attention", "sliding_attention"]
    assert plan(tmp_path / "n", "qwen2_moe", **changes).metadata["attention.windows"] == (0, 8)
    assert "attention.windows" not in plan(tmp_path / "o", "qwen2_moe", max_window_layers=0).metadata


def test_routers_stay_exact_and_experts_are_rotated_each_by_itself(tmp_path: Path) -> None:
    tensors = {tensor.name: tensor for tensor in plan(tmp_path, "qwen3_moe").tensors}
    assert tensors["layers.0.experts.router"].role == "router"
    reads = {name: tensor.reads for name, tensor in tensors.items() if ".experts." in name and tensor.role == "matrix"}
    assert reads["layers.0.experts.3.gate"] == reads["layers.0.experts.3.up"]
    assert len(set(reads.values())) == 2 * 2 * 6


@pytest.mark.parametrize(
    ("message", "name", "changes"),
    [
        ("uses 7 experts of 6", "qwen3_moe", {"num_experts_per_tok": 7}),
        ("num_experts_per_tok is 0", "qwen3_moe", {"num_experts_per_tok": 0}),
        ("num_experts is 'six'", "qwen3_moe", {"num_experts": "six"}),
        ("5000 experts in a layer are not supported", "qwen3_moe", {"num_experts": 5000}),
        (r"mlp.gate.weight: shape \[6, 64\], the configuration asks for \[5, 64\]", "qwen3_moe", {"num_experts": 5}),
        (r"mlp_only_layers is \[2\], expected numbers of layers", "qwen3_moe", {"mlp_only_layers": [2]}),
        ("mlp_only_layers is 'all'", "qwen3_moe", {"mlp_only_layers": "all"}),
        (r"mlp_only_layers is \[True\]", "qwen3_moe", {"mlp_only_layers": [True]}),
        ("decoder_sparse_step is 0", "qwen3_moe", {"decoder_sparse_step": 0}),
        ("norm_topk_prob is 1", "qwen3_moe", {"norm_topk_prob": 1}),
        ("moe_intermediate_size is -1", "qwen3_moe", {"moe_intermediate_size": -1}),
        ("shared_expert_intermediate_size is -4", "qwen2_moe", {"shared_expert_intermediate_size": -4}),
        ("shared_expert_intermediate_size is '40'", "qwen2_moe", {"shared_expert_intermediate_size": "40"}),
        (r"shape \[40, 64\], .* for \[41, 64\]", "qwen2_moe", {"shared_expert_intermediate_size": 41}),
        (r"shape \[112, 64\], .* for \[80, 64\]", "granitemoeshared", {"shared_intermediate_size": 40}),
        ("shared_intermediate_size is True", "granitemoeshared", {"shared_intermediate_size": True}),
        ("routed_scaling_factor is 0", "lfm2_moe", {"routed_scaling_factor": 0.0}),
        ("num_dense_layers is -1", "lfm2_moe", {"num_dense_layers": -1}),
        ("type 'mamba' are not supported", "lfm2_moe", {"layer_types": ["mamba", "full_attention", "conv"]}),
    ],
)  # fmt: skip
def test_refused_configurations(tmp_path: Path, message: str, name: str, changes: dict[str, Any]) -> None:
    refused(tmp_path, message, name, **changes)


def _in_memory(place: str, of_each: list[np.ndarray]) -> dict[str, np.ndarray]:
    """As transformers 5 holds them, and some files: gate and up in one."""
    gates, ups, downs = of_each
    return {f"{place}.experts.gate_up_proj": np.concatenate([gates, ups], 1), f"{place}.experts.down_proj": downs}


def _granite(place: str, of_each: list[np.ndarray]) -> dict[str, np.ndarray]:
    gates, ups, downs = of_each
    return {f"{place}.input_linear.weight": np.concatenate([gates, ups], 1), f"{place}.output_linear.weight": downs}


def fused(directory: Path, fuse: Fuse) -> ModelPlan:
    model = MODELS["qwen3_moe"]
    tiny_models.write(model, directory)
    weights = dict(tiny_models.tensors(model))
    for layer in range(2):
        place, of_each = f"model.layers.{layer}.mlp", []
        for part in ("gate", "up", "down"):
            names = [f"{place}.experts.{expert}.{part}_proj.weight" for expert in range(6)]
            of_each.append(np.stack([weights.pop(name) for name in names]))
        weights |= fuse(place, of_each)
    tiny_models.write_safetensors(directory / "model.safetensors", weights)
    return plan_model(open_source(directory))


@pytest.mark.parametrize("fuse", [_in_memory, _granite])
def test_experts_in_one_tensor_are_the_same(tmp_path: Path, fuse: Fuse) -> None:
    expected, found = plan(tmp_path / "apart", "qwen3_moe"), fused(tmp_path / "fused", fuse)
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in expected.tensors]
    assert (found.metadata, found.notes) == (expected.metadata, ())
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        np.testing.assert_array_equal(one.read(), other.read(), err_msg=one.name)


def test_fused_tensors_of_a_wrong_shape(tmp_path: Path) -> None:
    def cut(place: str, of_each: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values[:, :-1] for name, values in _in_memory(place, of_each).items()}

    def flat(place: str, of_each: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values.reshape(-1, values.shape[-1]) for name, values in _in_memory(place, of_each).items()}

    def fewer(place: str, of_each: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values[:5] for name, values in _in_memory(place, of_each).items()}

    for fuse, message in (
        (cut, r"gate_up_proj: shape \[6, 95, 64\] is not that of experts"),
        (flat, r"shape \[\d+, \d+\] is not that of experts"),
        (fewer, "experts.5.gate_proj.weight is missing"),
    ):
        with pytest.raises(PackError, match=message):
            fused(tmp_path, fuse)


def test_gate_and_up_in_one_tensor_of_a_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = MODELS["qwen3_moe_normalized"]
    expected = plan_model(open_source(write_gguf(model, tmp_path / "apart.gguf")))
    weights = gguf_tensors(model)
    for name in [name for name in weights if re.search("ffn_gate_exps", name)]:
        gate, up = weights.pop(name), weights.pop(name.replace("gate", "up"))
        weights[name.replace("gate", "gate_up")] = np.concatenate([gate, up], 1)
    found = plan_model(open_source(write_gguf(model, tmp_path / "fused.gguf", tensors=weights)))
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.read(), other.read(), err_msg=one.name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qwen3moe.expert_count": None}, "expert_count is missing"),
        ({"qwen3moe.expert_used_count": 9}, "uses 9 experts of 6"),
        ({"qwen3moe.expert_weights_scale": 2.5}, "expert_weights_scale = 2.5 is not supported"),
        ({"qwen3moe.expert_gating_func": 2}, "expert_gating_func = 2 is not supported"),
        ({"qwen3moe.expert_shared_count": 1}, "expert_shared_count = 1 is not supported"),
        ({"qwen3moe.expert_shared_feed_forward_length": 8}, "expert_shared_feed_forward_length = 8 is not supported"),
        ({"qwen3moe.expert_feed_forward_length": 40}, r"shape \[48, 64\], the configuration asks for \[40, 64\]"),
    ],
)
def test_refused_gguf_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    pytest.importorskip("gguf")
    path = write_gguf(MODELS["qwen3_moe_normalized"], tmp_path / "m.gguf", changes=changes)
    with pytest.raises(PackError, match=message):
        plan_model(open_source(path))


def test_a_shared_part_of_gguf_files(tmp_path: Path) -> None:
    """Its share may be a vector; a qwen2moe without a width of it has that of feed-forward parts, and one of granitemoe
    has none of it."""
    pytest.importorskip("gguf")
    model, key = MODELS["qwen2_moe"], "expert_shared_feed_forward_length"
    expected = plan_model(open_source(write_gguf(model, tmp_path / "m.gguf"))).tensors
    weights = gguf_tensors(model)
    names = [name for name in weights if "ffn_gate_inp_shexp" in name]
    vectors = weights | {name: weights[name].reshape(-1) for name in names}
    found = plan_model(open_source(write_gguf(model, tmp_path / "v.gguf", tensors=vectors))).tensors
    assert len(names) == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.read(), other.read(), err_msg=one.name)
    wide = tiny_models.TinyModel("m", {**model.config, "shared_expert_intermediate_size": 96})
    silent = plan_model(open_source(write_gguf(wide, tmp_path / "w.gguf", changes={f"qwen2moe.{key}": None})))
    assert silent.metadata["experts.shared"] == 96
    path = write_gguf(MODELS["granitemoeshared"], tmp_path / "g.gguf", changes={f"granitemoe.{key}": None})
    with pytest.raises(PackError, match=r"6 tensors have no place in Granite 3 MoE, such as blk.0.ffn_down_shexp"):
        plan_model(open_source(path))
    for value, message in ((48, r"\[56, 64\], the configuration asks for \[48, 64\]"), (-1, "is -1, expected")):
        path = write_gguf(MODELS["granitemoeshared"], tmp_path / "b.gguf", changes={f"granitemoe.{key}": value})
        with pytest.raises(PackError, match=message):
            plan_model(open_source(path))


@pytest.mark.parametrize("matrices", ["Q8_0", "BF16"])
def test_quantised_experts(tmp_path: Path, matrices: str) -> None:
    """Each expert is read by itself, and as close as its type allows."""
    pytest.importorskip("gguf")
    config = {**MODELS["qwen3_moe_normalized"].config, "moe_intermediate_size": 64}
    model = tiny_models.TinyModel("m", config)
    exact = plan_model(open_source(write_gguf(model, tmp_path / "exact.gguf"))).tensors
    coarse = plan_model(open_source(write_gguf(model, tmp_path / "coarse.gguf", matrices))).tensors
    for one, other in zip(exact, coarse, strict=True):
        if ".experts." in one.name:
            assert np.abs(one.read() - other.read()).max() < 0.01, one.name
