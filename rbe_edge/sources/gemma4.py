"""Gemma 4 (E2B, E4B, 31B; text): the row of the table of architectures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.architecture import LANGUAGE_HEADS, LANGUAGE_PREFIXES, Architecture, Rule, bias, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.layer_shapes import (
    LAYER_EMBEDDINGS,
    OWN_KEYS,
    OWN_VALUES,
    gemma4_shapes,
    layer_embedding_width,
)
from rbe_edge.sources.layers import gemma4_layers

_ATTENTION = "layers.N.self_attn"
_MLP = "layers.N.mlp"
_PLACE = "layers.N.layer_embedding"

GEMMA4_RULES = (
    Rule("embedding", "embed_tokens.weight", "vocabulary", "width", "embedding"),
    norm("norm", "norm.weight"),
    Rule("layer_embedding", "embed_tokens_per_layer.weight", "vocabulary", "layer_embeddings", "layer_embedding",
         needs=LAYER_EMBEDDINGS),
    Rule("layer_embedding.projection", "per_layer_model_projection.weight", "layer_embeddings", "width",
         needs=LAYER_EMBEDDINGS),
    norm("layer_embedding.norm", "per_layer_projection_norm.weight", "layer_embedding", LAYER_EMBEDDINGS),
    norm("layers.N.attention.norm", "layers.N.input_layernorm.weight"),
    norm("layers.N.attention.post_norm", "layers.N.post_attention_layernorm.weight"),
    Rule("layers.N.attention.q", f"{_ATTENTION}.q_proj.weight", "query", "width"),
    Rule("layers.N.attention.k", f"{_ATTENTION}.k_proj.weight", "key", "width", needs=OWN_KEYS),
    Rule("layers.N.attention.v", f"{_ATTENTION}.v_proj.weight", "key", "width", needs=OWN_VALUES),
    Rule("layers.N.attention.o", f"{_ATTENTION}.o_proj.weight", "width", "query"),
    norm("layers.N.attention.q_norm", f"{_ATTENTION}.q_norm.weight", "head_dim"),
    norm("layers.N.attention.k_norm", f"{_ATTENTION}.k_norm.weight", "head_dim", OWN_KEYS),
    norm("layers.N.feed_forward.norm", "layers.N.pre_feedforward_layernorm.weight"),
    norm("layers.N.feed_forward.post_norm", "layers.N.post_feedforward_layernorm.weight"),
    Rule("layers.N.feed_forward.gate", f"{_MLP}.gate_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_MLP}.up_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_MLP}.down_proj.weight", "width", "feed_forward"),
    Rule(f"{_PLACE}.gate", "layers.N.per_layer_input_gate.weight", "layer_embedding", "width", needs=LAYER_EMBEDDINGS),
    Rule(f"{_PLACE}.projection", "layers.N.per_layer_projection.weight", "width", "layer_embedding",
         needs=LAYER_EMBEDDINGS),
    norm(f"{_PLACE}.post_norm", "layers.N.post_per_layer_input_norm.weight", needs=LAYER_EMBEDDINGS),
    bias("layers.N.scale", "layers.N.layer_scalar", "one", "layer_scale"),
)  # fmt: skip


def _features(config: Config) -> frozenset[str]:
    return frozenset({"layer_scale", LAYER_EMBEDDINGS} if layer_embedding_width(config) else {"layer_scale"})


def _adapt(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """Scores are not scaled, and "vision" speaks of images alone."""
    if values.get("use_bidirectional_attention") not in (None, "vision"):
        raise PackError("config.json: use_bidirectional_attention is supported for images alone, not for text")
    return row, {**values, "query_pre_attn_scalar": 1}


GEMMA4 = Architecture(
    "gemma4_text", "Gemma 4 (text)", GEMMA4_RULES, gemma4_layers, _features, shapes=gemma4_shapes, adapt=_adapt,
    defaults={
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "sliding_window": 512,
        "vocab_size": 262144, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        },
    },
    prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS,
    towers=r"^(model\.)?(vision_tower|audio_tower|embed_vision|embed_audio)\.",
    fixed={"attention_bias": False, "enable_moe_block": False},
    norm_place="sandwich", rope_per_layer_type=True, activation_key="hidden_activation", scaled_embedding=True,
    softcaps=("logit",),
)  # fmt: skip
