"""Tiny models of Gemma 4: configurations with the switches of the published ones, and the tensors that belong to them
(tiny_models.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = ["sliding_attention", "full_attention"]

_TEXT: dict[str, Any] = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 272, "head_dim": 24,
    "global_head_dim": 48, "vocab_size_per_layer_input": 272, "hidden_size_per_layer_input": 32,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 8, "tie_word_embeddings": True, "num_kv_shared_layers": 3, "use_double_wide_mlp": True,
    "attention_k_eq_v": False, "enable_moe_block": False, "num_global_key_value_heads": None,
    "use_bidirectional_attention": None, "layer_types": _KINDS * 3, "final_logit_softcapping": 3.0,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
    "bos_token_id": 268, "eos_token_id": 268, "pad_token_id": 271,
}  # fmt: skip
_JOINED = {
    "hidden_size_per_layer_input": 0, "attention_k_eq_v": True, "num_kv_shared_layers": 0,
    "use_double_wide_mlp": False, "num_key_value_heads": 2, "num_global_key_value_heads": 1,
    "use_bidirectional_attention": "vision",
}  # fmt: skip

#: Like E2B; like E4B, with two key heads, one width of the feed-forward part and no cap; as transformers writes it now;
#: layers of their own alone; like 31B.
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "gemma4": _TEXT,
    "gemma4_e4b": {**_TEXT, "num_key_value_heads": 2, "num_kv_shared_layers": 2, "use_double_wide_mlp": False,
                   "final_logit_softcapping": None},
    "gemma4_new": {**{key: value for key, value in _TEXT.items() if "global" not in key},
                   "per_layer_config": {str(layer): {"head_dim": 48} for layer in (1, 3, 5)}},
    "gemma4_unshared": {**_TEXT, "num_kv_shared_layers": 0},
    "gemma4_joined": {**_TEXT, **_JOINED},
}  # fmt: skip


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors of the published model of such a configuration, without what stands before their names."""
    width, vocabulary, heads = config["hidden_size"], config["vocab_size"], config["num_attention_heads"]
    n, inputs = config["num_hidden_layers"], config["hidden_size_per_layer_input"]
    found: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (vocabulary, width), "norm.weight": (width,)}
    if inputs:
        found |= {
            "embed_tokens_per_layer.weight": (vocabulary, n * inputs),
            "per_layer_model_projection.weight": (n * inputs, width),
            "per_layer_projection_norm.weight": (inputs,),
        }
    for layer, kind in enumerate(config["layer_types"]):
        full, shared = kind == "full_attention", layer >= n - config["num_kv_shared_layers"]
        head_dim = config.get("global_head_dim", 48) if full else config["head_dim"]
        joined = config["attention_k_eq_v"] and full
        kv_heads = config["num_global_key_value_heads"] if joined else config["num_key_value_heads"]
        inner = config["intermediate_size"] * (2 if shared and config["use_double_wide_mlp"] else 1)
        part: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj.weight": (heads * head_dim, width),
            "self_attn.o_proj.weight": (width, heads * head_dim),
            "self_attn.q_norm.weight": (head_dim,),
            "mlp.gate_proj.weight": (inner, width),
            "mlp.up_proj.weight": (inner, width),
            "mlp.down_proj.weight": (width, inner),
            "layer_scalar": (1,),
        }
        norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
        part |= {f"{name}_layernorm.weight": (width,) for name in norms}
        if not shared:
            part |= {"self_attn.k_proj.weight": (kv_heads * head_dim, width), "self_attn.k_norm.weight": (head_dim,)}
        if not shared and not joined:
            part["self_attn.v_proj.weight"] = (kv_heads * head_dim, width)
        if inputs:
            part |= {
                "per_layer_input_gate.weight": (inputs, width),
                "per_layer_projection.weight": (width, inputs),
                "post_per_layer_input_norm.weight": (width,),
            }
        found |= {f"layers.{layer}.{name}": shape for name, shape in part.items()}
    return found
