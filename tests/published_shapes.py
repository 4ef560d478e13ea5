"""The tensors of published models by their configurations, for the tiny models of tiny_models.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tiny_gemma4
import tiny_llama_like
import tiny_recurrent


def shapes(config: Mapping[str, Any], prefix: str, head_name: str) -> dict[str, tuple[int, ...]]:
    """By name. prefix: before the names of all but the head."""
    kind = config["model_type"]
    found: dict[str, tuple[int, ...]]
    if kind in _OTHERS:
        found = {prefix + name: shape for name, shape in _OTHERS[kind](config).items()}
        tied = config.get("tie_word_embeddings", True)
        return found if tied else found | {head_name: (config["vocab_size"], config["hidden_size"])}
    heads, kv_heads, feed_forward = (
        config[key] for key in ("num_attention_heads", "num_key_value_heads", "intermediate_size")
    )
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    head_dim = config.get("head_dim", width // heads)
    query, key = heads * head_dim, kv_heads * head_dim
    found = {"embed_tokens.weight": (vocabulary, width), "norm.weight": (width,)}
    for layer in range(config.get("num_hidden_layers") or config["num_layers"]):
        part: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
            "self_attn.o_proj.weight": (width, query),
            "mlp.down_proj.weight": (width, feed_forward),
        }
        if kind == "spark2_5":
            part["self_attn.q_k_v_proj.weight"] = (query + 2 * key, width)
            part["self_attn.g_proj.weight"] = (heads, width)
            part["self_attn.out_proj.weight"] = part.pop("self_attn.o_proj.weight")
            part |= {f"mlp.{name}_proj.weight": (feed_forward, width) for name in ("gate", "up")}
        elif kind == "phi3":
            part["self_attn.qkv_proj.weight"] = (query + 2 * key, width)
            part["mlp.gate_up_proj.weight"] = (2 * feed_forward, width)
        else:
            part |= {"self_attn.q_proj.weight": (query, width), "self_attn.k_proj.weight": (key, width)}
            part |= {"self_attn.v_proj.weight": (key, width)}
            part |= {f"mlp.{name}_proj.weight": (feed_forward, width) for name in ("gate", "up")}
        part |= _of_experts(config, layer, part)
        if kind.startswith("gemma"):
            part |= {f"{name}_feedforward_layernorm.weight": (width,) for name in ("pre", "post")}
        if kind == "bitnet":
            part |= {"self_attn.attn_sub_norm.weight": (query,), "mlp.ffn_sub_norm.weight": (feed_forward,)}
        if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
            part |= {f"self_attn.{name}_norm.weight": (head_dim,) for name in "qk"}
        if kind == "olmoe":
            part |= {"self_attn.q_norm.weight": (query,), "self_attn.k_norm.weight": (key,)}
        part |= _biases(config, query, key)
        found |= {f"layers.{layer}.{name}": shape for name, shape in part.items() if shape}
    if kind == "spark2_5":
        found["embedding.weight"] = found.pop("embed_tokens.weight")
    found = tiny_llama_like.changed(config, found, query, key, head_dim)
    found = {prefix + name: shape for name, shape in found.items()}
    if not config["tie_word_embeddings"]:
        found[head_name] = (vocabulary, width)
    return found


def _biases(config: Mapping[str, Any], query: int, key: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    of_qwen2 = config["model_type"] in ("qwen2", "qwen2_moe") and config.get("qkv_bias", True)
    if of_qwen2 or config.get("attention_bias"):
        found |= {f"self_attn.{name}_proj.bias": (query if name == "q" else key,) for name in "qkv"}
    elif config.get("use_bias"):
        found |= {f"self_attn.{name}_proj.bias": (query if name == "q" else key,) for name in "qkv"}
    if config.get("attention_bias") or config.get("use_bias"):
        found["self_attn.o_proj.bias"] = (config["hidden_size"],)
    if config.get("mlp_bias") or config.get("use_bias"):
        found |= {f"mlp.{name}_proj.bias": (config["intermediate_size"],) for name in ("gate", "up")}
        found["mlp.down_proj.bias"] = (config["hidden_size"],)
    return found


def _of_experts(
    config: Mapping[str, Any], layer: int, dense: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The router and the experts of a layer that has them; the tensors that it lacks then have no shape."""
    kind = config["model_type"]
    if kind not in ("qwen2_moe", "qwen3_moe", "olmoe", "granitemoe", "granitemoeshared") or layer in config.get(
        "mlp_only_layers", []
    ):
        return {}
    width, inner = config["hidden_size"], config.get("moe_intermediate_size", config["intermediate_size"])
    found: dict[str, tuple[int, ...]] = {name: () for name in dense if name.startswith("mlp.")}
    if kind.startswith("granitemoe"):
        n, place, shared = config["num_local_experts"], "block_sparse_moe", config.get("shared_intermediate_size")
        if shared:
            found |= {"shared_mlp.input_linear.weight": (2 * shared, width)}
            found |= {"shared_mlp.output_linear.weight": (width, shared)}
        return found | {
            f"{place}.router.layer.weight": (n, width), f"{place}.input_linear.weight": (n, 2 * inner, width),
            f"{place}.output_linear.weight": (n, width, inner),
        }  # fmt: skip
    found["mlp.gate.weight"] = (config["num_experts"], width)
    for expert in range(config["num_experts"]):
        found |= {f"mlp.experts.{expert}.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        found[f"mlp.experts.{expert}.down_proj.weight"] = (width, inner)
    if kind == "qwen2_moe":
        shared = config["shared_expert_intermediate_size"]
        found |= {f"mlp.shared_expert.{name}_proj.weight": (shared, width) for name in ("gate", "up")}
        found |= {"mlp.shared_expert.down_proj.weight": (width, shared), "mlp.shared_expert_gate.weight": (1, width)}
    return found


def _lfm2_moe_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, heads, kv_heads = (config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    size, inner, outer = width // heads, config["moe_intermediate_size"], config["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config["vocab_size"], width), "embedding_norm.weight": (width,),
    }  # fmt: skip
    for layer in range(config["num_hidden_layers"]):
        part: dict[str, tuple[int, ...]] = {
            "operator_norm.weight": (width,),
            "ffn_norm.weight": (width,),
        }
        part |= {
            "conv.in_proj.weight": (3 * width, width), "conv.conv.weight": (width, 1, config["conv_L_cache"]),
            "conv.out_proj.weight": (width, width),
        } if config["layer_types"][layer] == "conv" else {
            "self_attn.q_proj.weight": (width, width), "self_attn.k_proj.weight": (kv_heads * size, width),
            "self_attn.v_proj.weight": (kv_heads * size, width), "self_attn.out_proj.weight": (width, width),
            "self_attn.q_layernorm.weight": (size,), "self_attn.k_layernorm.weight": (size,),
        }  # fmt: skip
        if layer < config["num_dense_layers"]:
            part |= {f"feed_forward.{name}.weight": (outer, width) for name in ("w1", "w3")}
            part["feed_forward.w2.weight"] = (width, outer)
        else:
            part["feed_forward.gate.weight"] = (config["num_experts"], width)
            for expert in range(config["num_experts"]):
                part |= {f"feed_forward.experts.{expert}.{name}.weight": (inner, width) for name in ("w1", "w3")}
                part[f"feed_forward.experts.{expert}.w2.weight"] = (width, inner)
            if config["use_expert_bias"]:
                part["feed_forward.expert_bias"] = (config["num_experts"],)
        found |= {f"layers.{layer}.{name}": shape for name, shape in part.items()}
    return found


def _gpt2_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width = config["n_embd"]
    feed_forward = config.get("n_inner") or 4 * width
    found: dict[str, tuple[int, ...]] = {
        "wte.weight": (config["vocab_size"], width), "wpe.weight": (config["n_positions"], width),
        "ln_f.weight": (width,), "ln_f.bias": (width,),
    }  # fmt: skip
    for layer in range(config["n_layer"]):
        part: dict[str, tuple[int, ...]] = {
            "attn.c_attn.weight": (width, 3 * width), "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width), "attn.c_proj.bias": (width,),
            "mlp.c_fc.weight": (width, feed_forward), "mlp.c_fc.bias": (feed_forward,),
            "mlp.c_proj.weight": (feed_forward, width), "mlp.c_proj.bias": (width,),
            "ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
        }  # fmt: skip
        found |= {f"h.{layer}.{name}": shape for name, shape in part.items()}
    return found


#: Between the matrices of a feed-forward step that adjusts itself, by the tiny model's intermediate_size and factor.
_LFM2_INNER = {(190, 1.0): 128, (190, 1.3): 144}


def _lfm2_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, taps, inner = config["hidden_size"], config["conv_L_cache"], config["intermediate_size"]
    head_dim = width // config["num_attention_heads"]
    if config["block_auto_adjust_ff_dim"]:
        inner = _LFM2_INNER[inner, config["block_ffn_dim_multiplier"]]
    attends = config.get("full_attn_idxs") or [i for i, kind in enumerate(config["layer_types"]) if kind != "conv"]
    found: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config["vocab_size"], width), "embedding_norm.weight": (width,),
    }  # fmt: skip
    for layer in range(config["num_hidden_layers"]):
        part: dict[str, tuple[int, ...]] = {
            "operator_norm.weight": (width,), "ffn_norm.weight": (width,), "feed_forward.w1.weight": (inner, width),
            "feed_forward.w2.weight": (width, inner), "feed_forward.w3.weight": (inner, width),
        }  # fmt: skip
        if layer in attends:
            part |= {"self_attn.q_proj.weight": (width, width), "self_attn.out_proj.weight": (width, width)}
            part |= {f"self_attn.{name}_proj.weight": (width // 2, width) for name in "kv"}
            part |= {f"self_attn.{name}_layernorm.weight": (head_dim,) for name in "qk"}
        else:
            part |= {"conv.conv.weight": (width, 1, taps)}
            part |= {"conv.in_proj.weight": (3 * width, width), "conv.out_proj.weight": (width, width)}
            if config["conv_bias"]:
                part |= {f"conv.{name}.bias": (width,) for name in ("conv", "out_proj")}
                part["conv.in_proj.bias"] = (3 * width,)
        found |= {f"layers.{layer}.{name}": shape for name, shape in part.items()}
    return found


_OTHERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, tuple[int, ...]]]] = {
    "gpt2": _gpt2_shapes,
    "lfm2_moe": _lfm2_moe_shapes,
    "lfm2": _lfm2_shapes,
    "gemma4_text": tiny_gemma4.shapes,
    "qwen3_5_text": tiny_recurrent.shapes,
    "granitemoehybrid": tiny_recurrent.shapes,
}
