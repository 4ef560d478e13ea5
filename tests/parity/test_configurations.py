"""Directories with unusual configurations: what transformers loads is packed, and the logits are the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from tiny_models import MODELS

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.architectures import ARCHITECTURES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = list(range(40, 80))
FloatArray = npt.NDArray[np.float32]
Weights = dict[str, FloatArray]


def theirs(directory: Path) -> FloatArray | None:
    """The logits of transformers after the last token; None where it does not load the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
            with torch.no_grad():
                found: FloatArray = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
        except Exception:
            return None
        return found


def ours(directory: Path) -> FloatArray:
    path = pack(directory, directory / "out.rbe", PackOptions(bits=32, force=True)).path
    with Model.open(path) as model, model.session(kv="f32") as session:
        found: FloatArray = np.asarray(session.score(TOKENS, logits=True).logits).reshape(len(TOKENS), -1)[-1]
    return found


def write(
    directory: Path, name: str, changes: dict[str, Any], edit: Callable[[Weights], Weights] | None = None
) -> Path:
    """A tiny model with changes to its configuration ("absent" removes a key) and to its weights."""
    model = MODELS[name]
    tiny_models.write(model, directory)
    config = {key: value for key, value in {**model.config, **changes}.items() if value != "absent"}
    (directory / "config.json").write_text(json.dumps(config))
    if edit is not None:
        tiny_models.write_safetensors(directory / "model.safetensors", edit(tiny_models.tensors(model)))
    return directory


ROPE = {"rope_type": "default", "rope_theta": 1e5}
LINEAR = {"type": "linear", "factor": 2}
LOADED: list[tuple[str, dict[str, Any]]] = [
    *(("llama", changes) for changes in (
        {"quantization_config": None}, {"rope_scaling": None}, {"rope_scaling": {}}, {"rope_parameters": None},
        {"rope_parameters": {}}, {"rope_scaling": {"type": "default"}}, {"rope_scaling": LINEAR},
        {"rope_scaling": {"rope_type": "default", "factor": None}}, {"rope_parameters": {"rope_theta": 5000.0}},
        {"rope_scaling": LINEAR, "rope_parameters": ROPE}, {"rope_theta": "absent"}, {"rope_theta": 10000},
        {"rope_parameters": ROPE, "rope_theta": 777.0}, {"head_dim": None}, {"torch_dtype": "bfloat16"},
        {"dtype": None}, {"torch_dtype": "nonsense"}, {"eos_token_id": [268, 270]}, {"eos_token_id": None},
        {"eos_token_id": []}, {"pad_token_id": -1}, {"layer_types": None}, {"text_config": None},
        {"sliding_window": None}, {"unknown": float("nan")}, {"more": float("inf")}, {"architectures": None},
        {"num_experts": 0}, {"num_local_experts": None}, {"partial_rotary_factor": 0.5}, {"num_hidden_layers": 1},
        {"tie_word_embeddings": "absent"}, {"tie_word_embeddings": True},
    )),
    ("llama_linear", {"rope_theta": "absent"}),
    ("llama_yarn", {"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": None, "attention_factor": None}}),
    ("mistral_window", {"sliding_window": None}),
    ("qwen2_window", {"layer_types": None}),
    ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ("qwen2_moe_window", {"layer_types": None, "max_window_layers": "absent"}),
    ("qwen2_moe", {"norm_topk_prob": "absent", "qkv_bias": "absent", "decoder_sparse_step": "absent"}),
    ("granitemoeshared", {"shared_intermediate_size": 0}),
    ("granitemoeshared", {"shared_intermediate_size": "absent"}),
    ("gpt2", {"n_inner": None}),
    ("gpt2", {"n_ctx": None}),
    ("phi3", {"rope_scaling": None, "attention_bias": False}),
    ("phi3_partial", {"rope_parameters": ROPE}),
    ("gemma2", {"tie_word_embeddings": "absent"}),
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma2", {"attn_logit_softcapping": "absent", "final_logit_softcapping": "absent"}),
    ("gemma3", {"rope_scaling": None}),
    ("gemma3", {"rope_scaling": {}}),
    ("gemma3_new", {"rope_parameters": {}}),
    ("gemma3_new", {"rope_parameters": ROPE}),
    ("gemma3_new", {"rope_parameters": None}),
    ("gemma3_new", {"rope_parameters": {"full_attention": None, "sliding_attention": ROPE}}),
    ("gemma4", {"rope_parameters": None}),
    ("gemma4", {"vocab_size_per_layer_input": 272, "use_bidirectional_attention": "vision"}),
    ("gemma4", {"final_logit_softcapping": None}),
    ("gemma4", {"attention_k_eq_v": "absent", "use_double_wide_mlp": True, "enable_moe_block": "absent"}),
    *(("qwen3_5", changes) for changes in (
        {"layer_types": None}, {"rope_parameters": None}, {"rope_parameters": {"rope_theta": 1e5}},
        {"rope_parameters": {"rope_theta": 1e5, "partial_rotary_factor": 0.5}}, {"partial_rotary_factor": 0.5},
        {"rope_parameters": None, "rope_theta": 777.0, "partial_rotary_factor": 0.5}, {"attn_output_gate": "absent"},
    )),
    *(("granite4", changes) for changes in (
        {"mamba_d_head": "auto"}, {"position_embedding_type": "rope"}, {"position_embedding_type": None},
        {"residual_multiplier": "absent"}, {"time_step_limit": [0.0, float("inf")]}, {"mamba_proj_bias": "absent"},
        {"layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"]},
        {"layers_block_type": ["mamba", "mamba", "attention", "mamba"], "layer_types": "absent"},
        {"intermediate_size": 7, "mamba_chunk_size": "absent", "mamba_conv_bias": "absent"},
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), LOADED)
def test_what_transformers_loads(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    directory = write(tmp_path, name, changes)
    expected = theirs(directory)
    assert expected is not None
    np.testing.assert_allclose(ours(directory), expected, atol=1e-3)


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("llama_tied", lambda weights: weights | {HEAD: weights[EMBEDDING]}),
        ("llama_tied", lambda weights: weights | {HEAD: weights[EMBEDDING] * 2}),
        ("llama_tied", lambda weights: {HEAD if key == EMBEDDING else key: weights[key] for key in weights}),
        ("gemma2", lambda weights: weights | {HEAD: weights[EMBEDDING][::-1]}),
        ("llama", lambda weights: weights | {"model.layers.2.mlp.up_proj.weight": np.ones((96, 64), np.float32)}),
        ("llama", lambda weights: weights | {"model.layers.0.self_attn.q_proj.bias": np.ones(64, np.float32)}),
        ("qwen3", lambda weights: weights | {"vision_tower.patch.weight": np.ones(3, np.float32)}),
    ],
)
def test_weights_that_contradict_the_configuration(
    tmp_path: Path, name: str, edit: Callable[[Weights], Weights]
) -> None:
    directory = write(tmp_path, name, {}, edit)
    expected = theirs(directory)
    assert expected is not None
    np.testing.assert_allclose(ours(directory), expected, atol=1e-3)


def test_what_neither_loads(tmp_path: Path) -> None:
    for changes in ({"hidden_size": "64"}, {"rms_norm_eps": "1e-5"}, {"quantization_config": {}}, {"vocab_size": 271}):
        directory = write(tmp_path, "llama", changes)
        assert theirs(directory) is None
        with pytest.raises(PackError):
            ours(directory)


def test_defaults_are_those_of_transformers() -> None:
    """What a configuration leaves out, the class says, for all keys that are read."""
    keys = {
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
        "intermediate_size", "max_position_embeddings", "original_max_position_embeddings", "rms_norm_eps",
        "hidden_act", "hidden_activation", "tie_word_embeddings", "attention_bias", "mlp_bias", "sliding_window",
        "use_sliding_window", "max_window_layers", "query_pre_attn_scalar", "attn_logit_softcapping",
        "final_logit_softcapping", "n_embd", "n_layer", "n_head", "n_positions", "layer_norm_epsilon",
        "activation_function", "norm_eps", "conv_L_cache", "conv_bias", "block_auto_adjust_ff_dim", "block_multiple_of",
        "block_ffn_dim_multiplier", "num_experts", "num_local_experts", "num_experts_per_tok",
        "moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size",
    }  # fmt: skip
    taken_as_false = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window")
    for row in ARCHITECTURES:
        if row.model_type in ("minicpm", "spark2_5"):  # of which transformers has no class
            continue
        config_class = transformers.CONFIG_MAPPING[row.model_type]
        fields = {name: field.default for name, field in config_class.__dataclass_fields__.items() if name in keys}
        expected = {key: value for key, value in fields.items() if value is not None}
        ours = {**dict.fromkeys(taken_as_false, False), "max_window_layers": 28, **row.defaults}
        if row.model_type in ("llama", "phi3"):
            expected.pop("num_key_value_heads", None)
        assert {key: ours.get(key) for key in expected} == expected, row.model_type
