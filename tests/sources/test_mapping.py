"""From configurations and tensors to plans, and everything that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from tiny_models import MODELS, TinyModel

from rbe_edge.errors import PackError
from rbe_edge.sources.architectures import ARCHITECTURES, supported_names
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan
from rbe_edge.sources.types import FloatArray


def plan(directory: Path, name: str, **changes: Any) -> ModelPlan:
    """The plan of a tiny model whose configuration is changed ("absent" removes a key)."""
    model = MODELS[name]
    tiny_models.write(model, directory)
    config = {key: value for key, value in (dict(model.config) | changes).items() if value != "absent"}
    (directory / "config.json").write_text(json.dumps(config))
    return plan_model(open_source(directory))


def refused(directory: Path, message: str, name: str, **changes: Any) -> None:
    with pytest.raises(PackError, match=message) as caught:
        plan(directory, name, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_has_its_place(tmp_path: Path, name: str) -> None:
    """The numbers of the plan are those of the source: each once, but for what is added to norms or multiplies."""
    model = MODELS[name]
    found = plan(tmp_path, name)
    skipped = set(model.extra)
    once = {(tensor.source.name, tensor.start): tensor for tensor in found.tensors if tensor.source}
    ours = np.sort(np.concatenate([tensor.read().ravel() / np.float32(tensor.scale) for tensor in once.values()]))

    def as_stored(name: str, values: FloatArray) -> FloatArray:
        if name.endswith("A_log"):
            values = np.exp(values.astype(np.float64)).astype(np.float32)
        return (values + np.float32(tiny_models.is_less_by_one(found.architecture, name))).ravel()

    weights = tiny_models.tensors(model).items()
    theirs = np.sort(np.concatenate([as_stored(name, values) for name, values in weights if name not in skipped]))
    np.testing.assert_array_equal(ours, theirs)
    assert found.parameters == len(theirs)


def test_names_and_shapes(tmp_path: Path) -> None:
    found = {tensor.name: (tensor.rows, tensor.cols) for tensor in plan(tmp_path, "qwen3").tensors}
    assert found["embedding"] == found["head"] == (272, 64)
    assert found["layers.1.attention.q"] == (96, 64)
    assert found["layers.1.attention.k"] == found["layers.1.attention.v"] == (48, 64)
    assert found["layers.1.attention.o"] == (64, 96)
    assert found["layers.1.attention.q_norm"] == (1, 24)
    assert found["layers.0.feed_forward.gate"] == (96, 64)
    assert found["layers.0.feed_forward.down"] == (64, 96)
    assert found["norm"] == (1, 64)
    assert found["rope.frequencies"] == (1, 12)
    assert len(found) == 3 + 1 + 2 * 11


def test_fused_and_transposed(tmp_path: Path) -> None:
    weights = tiny_models.tensors(MODELS["gpt2"])
    found = {tensor.name: tensor for tensor in plan(tmp_path / "gpt2", "gpt2").tensors}
    fused = weights["transformer.h.1.attn.c_attn.weight"]
    bias = weights["transformer.h.1.attn.c_attn.bias"]
    for i, part in enumerate("qkv"):
        np.testing.assert_array_equal(found[f"layers.1.attention.{part}"].read(), fused[:, 64 * i : 64 * (i + 1)].T)
        np.testing.assert_array_equal(found[f"layers.1.attention.{part}.bias"].read()[0], bias[64 * i : 64 * (i + 1)])
    down = found["layers.0.feed_forward.down"].read()
    np.testing.assert_array_equal(down, weights["transformer.h.0.mlp.c_proj.weight"].T)
    assert down.flags.c_contiguous
    weights = tiny_models.tensors(MODELS["phi3"])
    found = {tensor.name: tensor for tensor in plan(tmp_path / "phi3", "phi3").tensors}
    fused = weights["model.layers.0.self_attn.qkv_proj.weight"]
    np.testing.assert_array_equal(found["layers.0.attention.k"].read(), fused[64:96])
    np.testing.assert_array_equal(found["layers.0.attention.v"].read(), fused[96:128])
    fused = weights["model.layers.0.mlp.gate_up_proj.weight"]
    np.testing.assert_array_equal(found["layers.0.feed_forward.up"].read(), fused[96:])


def test_shared_rotations(tmp_path: Path) -> None:
    reads = {
        tensor.name: tensor.reads
        for tensor in plan(tmp_path, "llama").tensors
        if tensor.role in ("matrix", "key_value")
    }
    for layer in range(2):
        attention = [reads[f"layers.{layer}.attention.{name}"] for name in "qkv"]
        feed_forward = [reads[f"layers.{layer}.feed_forward.{name}"] for name in ("gate", "up")]
        assert len(set(attention)) == len(set(feed_forward)) == 1
    assert len(set(reads.values())) == 2 * 4


def test_metadata_of_llama(tmp_path: Path) -> None:
    assert plan(tmp_path, "llama").metadata == {
        "architecture": "llama", "layers": 2, "width": 64, "vocabulary": 272, "context": 64, "heads": 4, "kv_heads": 2,
        "head_dim": 16, "feed_forward": 96, "norm.kind": "rms", "norm.epsilon": 1e-5, "norm.place": "pre",
        "position.kind": "rope", "attention.scale": 0.25, "feed_forward.activation": "silu", "feed_forward.gated": 1,
    }  # fmt: skip


def test_metadata_of_gpt2(tmp_path: Path) -> None:
    found = plan(tmp_path, "gpt2").metadata
    assert found["feed_forward"] == 256  # four times the width where n_inner is null
    assert (found["norm.kind"], found["position.kind"]) == ("layer", "learned")
    assert (found["feed_forward.activation"], found["feed_forward.gated"]) == ("gelu_tanh", 0)
    assert not any(key.startswith("rope") for key in found)


def test_metadata_of_gemma(tmp_path: Path) -> None:
    found = plan(tmp_path / "2", "gemma2").metadata
    assert found["attention.windows"] == (8, 0)
    assert (found["attention.softcap"], found["logit.softcap"]) == (2.0, 3.0)
    assert (found["embedding.scale"], found["norm.place"]) == (8.0, "sandwich")
    assert found["attention.scale"] == 32**-0.5
    found = plan(tmp_path / "3", "gemma3").metadata
    assert found["attention.windows"] == (8, 8, 0, 8)
    assert found["rope.tables"] == (1, 1, 0, 1)
    assert "attention.softcap" not in found and "logit.softcap" not in found


def test_windows(tmp_path: Path) -> None:
    def windows(name: str, **changes: Any) -> object:
        return plan(tmp_path, name, **changes).metadata.get("attention.windows")

    assert windows("mistral") is None
    assert windows("mistral_window") == (8, 8)
    assert windows("mistral_window", sliding_window=64) is None, "a window as long as the context is none"
    assert windows("qwen2") is None, "use_sliding_window is off"
    assert windows("qwen2_window") == (0, 8)
    assert windows("qwen2_window", layer_types=["sliding_attention", "full_attention"]) == (8, 0)
    assert windows("gemma2", layer_types=["full_attention", "sliding_attention"]) == (0, 8)


def test_the_language_model_of_gemma3_is_sparse_in_its_defaults(tmp_path: Path) -> None:
    """text_config of published multimodal models leaves out what is the default of its class."""
    text = dict(MODELS["gemma3_multimodal"].config["text_config"])
    given = {key: text[key] for key in ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size")}
    given |= {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    with pytest.raises(PackError, match="asks for \\[262208, 64\\]"):
        plan(tmp_path, "gemma3_multimodal", text_config=given)
    given |= {"vocab_size": 272, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24}
    found = plan(tmp_path, "gemma3_multimodal", text_config=given)
    assert found.metadata["context"] == 131072
    assert found.metadata["norm.epsilon"] == 1e-6
    assert found.metadata["attention.windows"] == (1024,) * 4
    assert found.metadata["feed_forward.activation"] == "gelu_tanh"


def test_unknown_architectures(tmp_path: Path) -> None:
    refused(tmp_path, "'mamba' .MambaForCausalLM. is not supported; supported are GPT-2, Llama", "llama",
            model_type="mamba", architectures=["MambaForCausalLM"])  # fmt: skip
    refused(tmp_path, "architecture None", "llama", model_type="absent")
    refused(tmp_path, "'mixtral'", "llama", model_type="mixtral")
    assert len(set(supported_names())) == len({row.model_type for row in ARCHITECTURES}) == len(ARCHITECTURES)


@pytest.mark.parametrize(
    ("message", "name", "changes"),
    [
        ("mixture of experts .num_local_experts.", "llama", {"num_local_experts": 8}),
        ("quantized already", "llama", {"quantization_config": {"bits": 4}}),
        (r"\[272, 64\], the configuration asks for \[272, 4096\]", "llama", {"hidden_size": "absent"}),
        ("num_hidden_layers is 268435456, but there are 21 tensors", "llama", {"num_hidden_layers": 2**28}),
        ("hidden_size is '64'", "llama", {"hidden_size": "64"}),
        ("num_hidden_layers is -2", "llama", {"num_hidden_layers": -2}),
        ("vocab_size is True", "llama", {"vocab_size": True}),
        ("rms_norm_eps is 0", "llama", {"rms_norm_eps": 0.0}),
        ("attention_bias is 'no'", "llama", {"attention_bias": "no"}),
        ("5 heads do not divide", "llama", {"num_attention_heads": 5}),
        ("3 key heads do not divide", "llama", {"num_key_value_heads": 3}),
        ("activation 'relu6' is not supported", "llama", {"hidden_act": "relu6"}),
        ("'chunked_attention' are not supported", "qwen2", {"layer_types": ["chunked_attention"] * 2}),
        ("a list of 2 strings", "qwen2", {"layer_types": ["full_attention"]}),
        ("use_sliding_window is off", "qwen2", {"layer_types": ["sliding_attention"] * 2}),
        ("differ from the model's only kind", "llama", {"layer_types": ["full_attention", "sliding_attention"]}),
        ("sliding_window is missing", "gemma2", {"sliding_window": None}),
        ("use_bidirectional_attention = True", "gemma2", {"use_bidirectional_attention": True}),
        ("attn_logit_softcapping = 50.0", "gemma3", {"attn_logit_softcapping": 50.0}),
        ("scale_attn_by_inverse_layer_idx = True", "gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("add_cross_attention = True", "gpt2", {"add_cross_attention": True}),
        ("type 'mrope' is not supported .supported: default, linear", "llama", {"rope_scaling": {"type": "mrope"}}),
        ("rope_scaling: factor is missing", "llama", {"rope_scaling": {"type": "linear"}}),
        ("rope_scaling is 'linear', expected an object", "llama", {"rope_scaling": "linear"}),
        ("short_factor is .*a list of 8 numbers", "phi3_longrope",
         {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 8}}),
        ("partial_rotary_factor is not supported for Llama", "llama_linear", {"partial_rotary_factor": 0.5}),
        ("gives no even number", "phi3", {"partial_rotary_factor": 0.2}),
        ("rope_theta is 1", "llama", {"rope_theta": 1.0}),
        ("expected one set for all layers", "llama_new", {"rope_parameters": {"full_attention": {}}}),
        ("no_rope_layers is .1, 2., expected 4 numbers", "smollm3", {"no_rope_layers": [1, 2]}),
        ("no_rope_layer_interval is 0", "smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 0}),
        ("use_sliding_window is off", "smollm3", {"layer_types": ["sliding_attention"] * 4}),
        ("llama_4_scaling_beta is -1", "ministral3", {
            "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "llama_4_scaling_beta": -1.0}}),
        ("original_max_position_embeddings is missing", "ministral3", {
            "rope_parameters": {"rope_type": "default", "llama_4_scaling_beta": 0.1}}),
        ("residual_multiplier is 0", "granite", {"residual_multiplier": 0}),
        ("are not between 1e-6 and 1e6", "granite", {"logits_scaling": 1e9}),
        ("attention_multiplier is 1e-09", "granite", {"attention_multiplier": 1e-9}),
        ("gives norm.epsilon = 1e.10", "granite", {"residual_multiplier": 1e-6, "rms_norm_eps": 0.01}),
        ("dim_model_base is -1", "minicpm", {"dim_model_base": -1}),
        ("sliding_window_pattern is 'LLLG'", "exaone4_window", {"layer_types": None}),
        ("differ from the model's only kind", "exaone4", {"layer_types": ["sliding_attention"] * 2}),
        ("alpha of rope_scaling is 1e.300", "hunyuan_v1_dense", {"rope_scaling": {"type": "dynamic", "alpha": 1e300}}),
        ("q_layernorm.norms.0.weight is missing", "stablelm", {"qk_layernorm": True}),
        ("layers of type 'mamba' are not supported", "lfm2_new", {"layer_types": ["mamba"] * 4}),
        ("a list of 4 strings", "lfm2_new", {"layer_types": ["conv"]}),
        ("full_attn_idxs is 'all'", "lfm2", {"full_attn_idxs": "all"}),
        ("conv_L_cache = 33 is not supported, only up to 32", "lfm2", {"conv_L_cache": 33}),
        ("conv_bias is 'no'", "lfm2", {"conv_bias": "no"}),
        ("block_ffn_dim_multiplier is 0", "lfm2", {"block_ffn_dim_multiplier": 0}),
        ("block_ffn_dim_multiplier makes", "lfm2", {"block_ffn_dim_multiplier": 1e300}),
        ("block_auto_adjust_ff_dim is 2", "lfm2", {"block_auto_adjust_ff_dim": 2}),
        ("hidden_act = 'gelu'", "lfm2", {"hidden_act": "gelu"}),
        ("more than frequencies", "gemma3_new", {"rope_parameters": {
            "full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}, "sliding_attention": {}}}),
        ("enable_moe_block = True", "gemma4", {"enable_moe_block": True}),
        ("mixture of experts .num_experts", "gemma4", {"num_experts": 8}),
        ("use_bidirectional_attention is supported for images alone", "gemma4", {"use_bidirectional_attention": "all"}),
        ("layer_types is 'sliding_attention', expected a list of", "gemma4", {"layer_types": "sliding_attention"}),
        ("attention_bias = True", "gemma4", {"attention_bias": True}),
        ("leaves no layer of some type", "gemma4", {"num_kv_shared_layers": 6}),
        ("leaves no layer of some type", "gemma4", {"num_kv_shared_layers": 5}),
        ("num_kv_shared_layers is -1", "gemma4", {"num_kv_shared_layers": -1}),
        ("vocab_size_per_layer_input is not vocab_size", "gemma4", {"vocab_size_per_layer_input": 8}),
        ("hidden_size_per_layer_input is 'x'", "gemma4", {"hidden_size_per_layer_input": "x"}),
        ("per_layer_config is 3, expected an object", "gemma4_new", {"per_layer_config": 3}),
        ("'intermediate_size' of one layer is not supported", "gemma4_new",
         {"per_layer_config": {"1": {"intermediate_size": 8}}}),
        ("3 key heads do not divide", "gemma4_joined", {"num_global_key_value_heads": 3}),
        ("partial_rotary_factor 1.5", "gemma4", {"rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 1.5}, "sliding_attention": {}}}),
    ],
)  # fmt: skip
def test_refused_configurations(tmp_path: Path, message: str, name: str, changes: dict[str, Any]) -> None:
    refused(tmp_path, message, name, **changes)


def _with_tensors(directory: Path, model: TinyModel, **changes: np.ndarray | None) -> None:
    tiny_models.write(model, directory)
    weights: dict[str, Any] = dict(tiny_models.tensors(model)) | changes
    weights = {name: values for name, values in weights.items() if values is not None}
    tiny_models.write_safetensors(directory / "model.safetensors", weights)


def test_tensors_that_are_missing_or_misshapen(tmp_path: Path) -> None:
    def fails(message: str, model: TinyModel = MODELS["llama"], **changes: np.ndarray | None) -> None:
        _with_tensors(tmp_path, model, **changes)
        with pytest.raises(PackError, match=message):
            plan_model(open_source(tmp_path))

    up = "model.layers.1.mlp.up_proj.weight"
    fails(f"the tensor {up} is missing", **{up: None})
    fails(f"{up}: shape \\[64, 96\\], the configuration asks for \\[96, 64\\]", **{up: np.zeros((64, 96), np.float32)})
    fails("the tensor lm_head.weight is missing", **{"lm_head.weight": None})
    fails("the tensor model.embed_tokens.weight is missing", **{"model.embed_tokens.weight": None})
    fails("the tensor model.layers.0.self_attn.q_proj.bias is missing", MODELS["qwen2"],
          **{"model.layers.0.self_attn.q_proj.bias": None})  # fmt: skip


def test_a_tied_head_that_is_stored_too(tmp_path: Path) -> None:
    model = MODELS["llama_tied"]
    embedding = tiny_models.tensors(model)["model.embed_tokens.weight"]
    _with_tensors(tmp_path, model, **{"lm_head.weight": embedding})
    assert "head" not in {tensor.name for tensor in plan_model(open_source(tmp_path)).tensors}
    _with_tensors(tmp_path, model, **{"lm_head.weight": embedding + np.float32(1)})
    found = plan_model(open_source(tmp_path))
    tensors = {tensor.name: tensor for tensor in found.tensors}
    np.testing.assert_array_equal(tensors["head"].read(), tensors["embedding"].read() + np.float32(1))
    assert found.notes == (
        "lm_head.weight differs from model.embed_tokens.weight although config.json ties them; both are packed",
    )
    _with_tensors(tmp_path, model, **{"lm_head.weight": embedding, "model.embed_tokens.weight": None})
    found = plan_model(open_source(tmp_path))
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert "head" not in tensors and not found.notes
    np.testing.assert_array_equal(tensors["embedding"].read(), embedding)


def test_tensors_without_a_place_are_left_out(tmp_path: Path) -> None:
    """As transformers does; llama.cpp refuses such files (test_gguf_hostile.py)."""
    more = dict.fromkeys(
        ["model.layers.2.x", "vision_tower.a", "model.layers.0.self_attn.o_proj.bias"], np.ones(64, "f4")
    )
    _with_tensors(tmp_path, MODELS["llama"], **more)
    found = plan_model(open_source(tmp_path))
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in plan(tmp_path, "llama").tensors]
    (note,) = found.notes
    assert note.startswith("3 tensors have no place in Llama") and "model.layers.0.self_attn.o_proj.bias" in note


def test_tensors_that_carry_nothing_are_skipped(tmp_path: Path) -> None:
    _with_tensors(
        tmp_path, MODELS["llama"], **{"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(8, np.float32)}
    )
    plan_model(open_source(tmp_path))


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    values = tiny_models.tensors(MODELS["llama"])[name].copy()
    values[3, 4] = np.nan
    _with_tensors(tmp_path, MODELS["llama"], **{name: values})
    found = {tensor.name: tensor for tensor in plan_model(open_source(tmp_path)).tensors}
    with pytest.raises(PackError, match=f"{name}: holds numbers that are not finite"):
        found["layers.0.feed_forward.up"].read()


def test_other_number_types(tmp_path: Path) -> None:
    path = tiny_models.write(MODELS["llama"], tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"'))
    with pytest.raises(PackError, match="numbers of type I32 are not read"):
        plan_model(open_source(tmp_path))
