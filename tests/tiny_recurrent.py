"""Tiny models with recurrent layers: configurations with the switches of the published ones, and the tensors that
belong to them (tiny_models.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = dict[str, tuple[int, ...]]

_COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 272, "max_position_embeddings": 64, "hidden_act": "silu",
    "bos_token_id": 268, "eos_token_id": 268, "pad_token_id": 271,
}  # fmt: skip
_LINEAR, _FULL = "linear_attention", "full_attention"
_QWEN35: dict[str, Any] = {
    **_COMMON, "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "head_dim": 24,
    "rms_norm_eps": 1e-6, "attention_bias": False, "attn_output_gate": True, "full_attention_interval": 4,
    "layer_types": [_LINEAR, _LINEAR, _LINEAR, _FULL], "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 6, "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_interleaved": True,
        "mrope_section": [1, 1, 1],
    },
}  # fmt: skip
_GRANITE4: dict[str, Any] = {
    **_COMMON, "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "rms_norm_eps": 1e-3,
    "attention_bias": False, "embedding_multiplier": 2, "logits_scaling": 4, "residual_multiplier": 0.4,
    "attention_multiplier": 0.0625, "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 80,
    "position_embedding_type": "nope", "layer_types": ["mamba", "mamba", "attention", "mamba"], "mamba_n_heads": 8,
    "mamba_n_groups": 1, "mamba_d_state": 24, "mamba_d_head": 16, "mamba_d_conv": 4, "mamba_expand": 2,
    "mamba_chunk_size": 16, "mamba_conv_bias": True, "mamba_proj_bias": False, "tie_word_embeddings": True,
    "rope_scaling": None, "rope_theta": 10000, "intermediate_size": 80,
}  # fmt: skip

#: Like the sizes with more value heads than key heads; like 0.8B and 2B, but with a head of its own, biases, and layers
#: by their interval; like h-350m and h-1b; with groups and without what is optional; like 350m and micro, which attend
#: in all layers.
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "qwen3_5": _QWEN35,
    "qwen3_5_even": {
        **{key: value for key, value in _QWEN35.items() if key != "layer_types"}, "full_attention_interval": 2,
        "linear_num_value_heads": 2, "linear_value_head_dim": 24, "linear_conv_kernel_dim": 2, "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "granite4": _GRANITE4,
    "granite4_groups": {
        **_GRANITE4, "mamba_n_groups": 2, "mamba_conv_bias": False, "attention_bias": True, "residual_multiplier": 1.0,
        "layer_types": ["mamba", "attention", "mamba", "mamba"], "tie_word_embeddings": False, "mamba_d_conv": 3,
    },
    "granite4_rope": {
        **_GRANITE4, "layer_types": ["attention"] * 4, "position_embedding_type": "rope", "rope_theta": 1e7,
    },
}  # fmt: skip


def seeing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model with this language part, which also sees."""
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "text_config": dict(config),
        "tie_word_embeddings": config["tie_word_embeddings"],
    }  # fmt: skip


#: What such a model has beside it: what it sees with, and a head that guesses more than one token.
BESIDE: Mapping[str, tuple[int, ...]] = {
    "model.visual.patch_embed.proj.bias": (4,), "model.visual.merger.norm.weight": (4,), "mtp.fc.weight": (4, 4),
    "mtp.norm.weight": (4,),
}  # fmt: skip


def shapes(config: Mapping[str, Any]) -> Shapes:
    """By name, without the prefix."""
    width = config["hidden_size"]
    found: Shapes = {"embed_tokens.weight": (config["vocab_size"], width), "norm.weight": (width,)}
    n, types = config["num_hidden_layers"], config.get("layer_types")
    if types is None:
        types = [_LINEAR if (layer + 1) % config["full_attention_interval"] else _FULL for layer in range(n)]
    qwen = config["model_type"] == "qwen3_5_text"
    for layer, kind in enumerate(types):
        part = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
        if kind in (_FULL, "attention"):
            part |= _attention(config, gated=qwen)
        else:
            part |= _delta_net(config) if qwen else _mamba(config)
        part |= _feed_forward(config, qwen)
        found |= {f"layers.{layer}.{name}": shape for name, shape in part.items()}
    return found


def _attention(config: Mapping[str, Any], gated: bool) -> Shapes:
    width, heads, kv_heads = (config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    size = config.get("head_dim", width // heads)
    rows = {"q_proj": heads * size * (2 if gated else 1), "k_proj": kv_heads * size, "v_proj": kv_heads * size}
    found: Shapes = {f"self_attn.{name}.weight": (n, width) for name, n in rows.items()}
    found["self_attn.o_proj.weight"] = (width, heads * size)
    if gated:
        found |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
    if config["attention_bias"]:
        found |= {f"self_attn.{name}.bias": (n,) for name, n in {**rows, "o_proj": width}.items()}
    return found


def _delta_net(config: Mapping[str, Any]) -> Shapes:
    width, heads, size = (
        config[f"{key}"] for key in ("hidden_size", "linear_num_value_heads", "linear_value_head_dim")
    )
    key, value = config["linear_num_key_heads"] * config["linear_key_head_dim"], heads * size
    place = "linear_attn"
    return {
        f"{place}.dt_bias": (heads,), f"{place}.A_log": (heads,), f"{place}.norm.weight": (size,),
        f"{place}.conv1d.weight": (2 * key + value, 1, config["linear_conv_kernel_dim"]),
        f"{place}.in_proj_qkv.weight": (2 * key + value, width), f"{place}.in_proj_z.weight": (value, width),
        f"{place}.in_proj_b.weight": (heads, width), f"{place}.in_proj_a.weight": (heads, width),
        f"{place}.out_proj.weight": (width, value),
    }  # fmt: skip


def _mamba(config: Mapping[str, Any]) -> Shapes:
    width, heads = config["hidden_size"], config["mamba_n_heads"]
    inner, key = config["mamba_expand"] * width, config["mamba_n_groups"] * config["mamba_d_state"]
    found: Shapes = {
        "mamba.dt_bias": (heads,), "mamba.A_log": (heads,), "mamba.D": (heads,), "mamba.norm.weight": (inner,),
        "mamba.conv1d.weight": (inner + 2 * key, 1, config["mamba_d_conv"]),
        "mamba.in_proj.weight": (2 * inner + 2 * key + heads, width), "mamba.out_proj.weight": (width, inner),
    }  # fmt: skip
    return found | ({"mamba.conv1d.bias": (inner + 2 * key,)} if config["mamba_conv_bias"] else {})


def _feed_forward(config: Mapping[str, Any], qwen: bool) -> Shapes:
    width = config["hidden_size"]
    if not qwen:
        inner = config["shared_intermediate_size"]
        return {
            "shared_mlp.input_linear.weight": (2 * inner, width), "shared_mlp.output_linear.weight": (width, inner),
        }  # fmt: skip
    inner = config["intermediate_size"]
    found: Shapes = {f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
    return found | {"mlp.down_proj.weight": (width, inner)}
