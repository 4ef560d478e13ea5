"""Configurations of the tiny models that have Llama's tensors, or nearly (rbe_edge/sources/llama_like.py), with every
switch that a published checkpoint sets; and how their tensors differ from Llama's, written down from transformers.

Models are made of them in tiny_models.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Shapes = dict[str, tuple[int, ...]]

_LLAMA3 = {
    "rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
_MINISTRAL = {
    "rope_type": "yarn", "type": "yarn", "rope_theta": 1e6, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0,
    "original_max_position_embeddings": 8, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
}  # fmt: skip
_ALPHA = {
    "type": "dynamic", "alpha": 1000.0, "factor": 1.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
    "mscale_all_dim": 1.0,
}  # fmt: skip
_FULL = "full_attention"
_WINDOWS = ["sliding_attention", "sliding_attention", "sliding_attention", _FULL]

#: Of each model its type, and what its configuration changes of the tiny Llama's ("absent": the key is not there).
CONFIGURATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "smollm3": ("smollm3", {
        "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4, "rope_theta": 5e6,
        "rope_scaling": None, "use_sliding_window": False, "sliding_window": None, "layer_types": [_FULL] * 4,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    }),
    "smollm3_rotary": ("smollm3", {
        "num_hidden_layers": 4, "no_rope_layers": [1] * 4, "rope_theta": 5e6, "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
    }),
    "smollm3_yarn": ("smollm3", {
        "num_hidden_layers": 4, "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 8,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "attention_bias": True, "mlp_bias": True,
    }),
    "ministral3": ("ministral3", {
        "rope_theta": "absent", "rope_parameters": _MINISTRAL, "head_dim": 24, "sliding_window": None,
        "tie_word_embeddings": True,
    }),
    "ministral3_even": ("ministral3", {
        "rope_theta": "absent", "rope_parameters": {**_MINISTRAL, "llama_4_scaling_beta": 0.0}, "head_dim": 24,
        "sliding_window": None, "tie_word_embeddings": True,
    }),
    "granite": ("granite", {
        "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.125,
        "logits_scaling": 8.0, "attention_bias": False, "mlp_bias": False, "rope_scaling": None,
        "tie_word_embeddings": True,
    }),
    "olmo2": ("olmo2", {"rope_theta": 500000.0, "attention_bias": False, "rope_scaling": None, "rms_norm_eps": 1e-6}),
    "exaone4": ("exaone4", {
        "rope_theta": 1e6, "rope_scaling": _LLAMA3, "sliding_window": None, "sliding_window_pattern": None,
        "layer_types": [_FULL] * 2, "tie_word_embeddings": True,
    }),
    "exaone4_window": ("exaone4", {
        "num_hidden_layers": 4, "rope_theta": 1e6, "rope_scaling": _LLAMA3, "sliding_window": 8,
        "sliding_window_pattern": "LLLG", "layer_types": _WINDOWS,
    }),
    "exaone": ("exaone", {
        "num_hidden_layers": "absent", "num_layers": 2, "rms_norm_eps": "absent", "layer_norm_epsilon": 1e-5,
        "hidden_act": "absent", "activation_function": "silu", "rope_theta": 1e6, "rope_scaling": _LLAMA3,
        "head_dim": 16, "tie_word_embeddings": True,
    }),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {
        "head_dim": 24, "rope_scaling": _ALPHA, "attention_bias": False, "tie_word_embeddings": True,
    }),
    "stablelm": ("stablelm", {
        "rms_norm_eps": "absent", "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_qkv_bias": False,
        "num_key_value_heads": 4,
    }),
    "stablelm_bias": ("stablelm", {
        "rms_norm_eps": "absent", "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_qkv_bias": True,
        "qk_layernorm": False, "use_parallel_residual": False,
    }),
    "stablelm_12b": ("stablelm", {
        "rms_norm_eps": "absent", "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_qkv_bias": False,
        "qk_layernorm": True, "use_parallel_residual": True,
    }),
    "ernie4_5": ("ernie4_5", {
        "head_dim": 24, "rope_theta": 500000.0, "use_bias": False, "tie_word_embeddings": True, "rope_scaling": None,
    }),
    "ernie4_5_bias": ("ernie4_5", {"head_dim": 16, "use_bias": True}),
    "minicpm": ("minicpm", {
        "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16, "tie_word_embeddings": True,
    }),
}  # fmt: skip

#: Those with layer options, each of another kind (docs/format.md).
WITH_OPTIONS = ("smollm3", "ministral3", "olmo2", "exaone4_window", "hunyuan_v1_dense", "stablelm_12b")

PREFIXES = {"exaone": "transformer."}  # others have Llama's

_EXAONE = {
    r"^embed_tokens": "wte", r"^norm\b": "ln_f", r"^layers": "h", "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2", "self_attn": "attn.attention", "o_proj": "out_proj", "gate_proj": "c_fc_0",
    "up_proj": "c_fc_1", "down_proj": "c_proj",
}  # fmt: skip


def changed(config: Mapping[str, Any], found: Shapes, query: int, key: int, head_dim: int) -> Shapes:
    """The tensors of a model of this configuration, without prefix; found: those of a Llama of its sizes."""
    kind, width = config["model_type"], config["hidden_size"]
    for layer in range(config.get("num_hidden_layers") or config["num_layers"]):
        at = f"layers.{layer}"
        if kind in ("olmo2", "exaone4"):
            del found[f"{at}.input_layernorm.weight"]
            whole = kind == "olmo2"
            found[f"{at}.post_feedforward_layernorm.weight"] = (width,)
            found[f"{at}.self_attn.q_norm.weight"] = (query if whole else head_dim,)
            found[f"{at}.self_attn.k_norm.weight"] = (key if whole else head_dim,)
        if kind == "hunyuan_v1_dense":
            found |= {f"{at}.self_attn.{part}_layernorm.weight": (head_dim,) for part in ("query", "key")}
        if kind == "stablelm":
            found |= {f"{at}.{part}_layernorm.bias": (width,) for part in ("input", "post_attention")}
        if config.get("qk_layernorm"):
            counts = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
            norms = [
                f"{at}.self_attn.{part}_layernorm.norms.{n}" for part, count in counts.items() for n in range(count)
            ]
            found |= {f"{norm}.weight": (head_dim,) for norm in norms}
        if config.get("use_parallel_residual"):
            del found[f"{at}.post_attention_layernorm.weight"], found[f"{at}.post_attention_layernorm.bias"]
        if config.get("use_qkv_bias"):
            found |= {f"{at}.self_attn.{part}_proj.bias": (query if part == "q" else key,) for part in "qkv"}
    if kind == "stablelm":
        found["norm.bias"] = (width,)
    return {published(kind, name): shape for name, shape in found.items()}


def published(kind: str, name: str) -> str:
    """How a checkpoint of this type calls what a model of transformers calls so, both without prefix."""
    for theirs, ours in _EXAONE.items() if kind == "exaone" else ():
        name = re.sub(theirs, ours, name)
    return name.replace("moe.router.weight", "moe.router.layer.weight") if kind.startswith("granitemoe") else name


def as_granite(config: Mapping[str, Any]) -> dict[str, Any]:
    """The Granite that computes what a MiniCPM does, whose own code is not in transformers: residuals times scale_depth
    / sqrt(layers), and the head reads what it reads divided by width / dim_model_base."""
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    others = {key: value for key, value in config.items() if key not in ("scale_emb", "scale_depth", "dim_model_base")}
    return others | {
        "model_type": "granite", "embedding_multiplier": float(config["scale_emb"]),
        "residual_multiplier": config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
        "logits_scaling": config["hidden_size"] / config["dim_model_base"], "attention_multiplier": head_dim**-0.5,
    }  # fmt: skip
