"""Decoders whose layers are of several kinds: attention in some, and something with a small state of its own in the
others (docs/format.md, "Layers of several kinds")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.architecture import (
    ATTENTION,
    CONVOLUTION,
    DELTA_NET,
    LANGUAGE_HEADS,
    LANGUAGE_PREFIXES,
    OTHER_KINDS,
    STATE_SPACE,
    Architecture,
    Rule,
    bias,
    norm,
)
from rbe_edge.sources.config import LARGEST, Config
from rbe_edge.sources.expert_rules import expert_rules
from rbe_edge.sources.experts import Experts, layers_behind_dense
from rbe_edge.sources.layers import named_layers
from rbe_edge.sources.messages import shown
from rbe_edge.sources.recurrence import MOST_TAPS, Recurrence

#: Values of `layer.kinds`, by what Architecture.layers says.
_KINDS = {"full": 0, "sliding": 0, CONVOLUTION: 1, DELTA_NET: 2, STATE_SPACE: 3}

#: Kinds of layers with a recurrence.
RECURRENT = (DELTA_NET, STATE_SPACE)

_LAYER = "layers.N"


def _in(kind: str, *rules: Rule) -> tuple[Rule, ...]:
    """Rules for layers of one kind."""
    return tuple(rule.in_layers(kind) for rule in rules)


LFM2_RULES = (
    Rule("embedding", "embed_tokens.weight", "vocabulary", "width", "embedding"),
    norm("norm", "embedding_norm.weight"),
    *_in(
        ATTENTION,
        norm("layers.N.attention.norm", f"{_LAYER}.operator_norm.weight"),
        Rule("layers.N.attention.q", f"{_LAYER}.self_attn.q_proj.weight", "query", "width"),
        Rule("layers.N.attention.k", f"{_LAYER}.self_attn.k_proj.weight", "key", "width"),
        Rule("layers.N.attention.v", f"{_LAYER}.self_attn.v_proj.weight", "key", "width"),
        Rule("layers.N.attention.o", f"{_LAYER}.self_attn.out_proj.weight", "width", "query"),
        norm("layers.N.attention.q_norm", f"{_LAYER}.self_attn.q_layernorm.weight", "head_dim"),
        norm("layers.N.attention.k_norm", f"{_LAYER}.self_attn.k_layernorm.weight", "head_dim"),
    ),
    *_in(
        CONVOLUTION,
        norm("layers.N.convolution.norm", f"{_LAYER}.operator_norm.weight"),
        Rule("layers.N.convolution.in", f"{_LAYER}.conv.in_proj.weight", "thirds", "width"),
        Rule("layers.N.convolution.taps", f"{_LAYER}.conv.conv.weight", "width", "taps", "taps"),
        Rule("layers.N.convolution.out", f"{_LAYER}.conv.out_proj.weight", "width", "width"),
        bias("layers.N.convolution.in.bias", f"{_LAYER}.conv.in_proj.bias", "thirds", "convolution_bias"),
        bias("layers.N.convolution.taps.bias", f"{_LAYER}.conv.conv.bias", "width", "convolution_bias"),
        bias("layers.N.convolution.out.bias", f"{_LAYER}.conv.out_proj.bias", "width", "convolution_bias"),
    ),
    norm("layers.N.feed_forward.norm", f"{_LAYER}.ffn_norm.weight"),
    Rule("layers.N.feed_forward.gate", f"{_LAYER}.feed_forward.w1.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.feed_forward.w3.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.feed_forward.w2.weight", "width", "feed_forward"),
)


LFM2_MOE_RULES = (
    *LFM2_RULES,
    *expert_rules(f"{_LAYER}.feed_forward.gate.weight", f"{_LAYER}.feed_forward.experts.E", ("w1", "w3", "w2")),
    bias("layers.N.experts.router.bias", f"{_LAYER}.feed_forward.expert_bias", "experts", "expert_bias"),
)


def _lfm2_layers(config: Config, n_layers: int) -> list[str]:
    """layer_types, else full_attn_idxs, else attention in all."""
    if config.has("layer_types"):
        return named_layers(config, n_layers, {"full_attention": "full", "conv": CONVOLUTION})
    if not config.has("full_attn_idxs"):
        return ["full"] * n_layers
    indices = config.values["full_attn_idxs"]
    if not isinstance(indices, list) or not all(type(index) is int for index in indices):
        raise PackError(f"{config.where}: full_attn_idxs is {shown(indices)}, expected a list of numbers; correct it")
    return ["full" if layer in indices else CONVOLUTION for layer in range(n_layers)]


def _lfm2_features(config: Config) -> frozenset[str]:
    return frozenset({"convolution_bias"} if config.flag("conv_bias", False) else ())


def _lfm2_adapt(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """The feed-forward step has two thirds of what the configuration says, times a factor, up to a multiple of a
    number, unless it says otherwise. Two keys have older names, which count where they are there."""
    config = Config(values)
    inner = config.integer("block_ff_dim", config.integer("intermediate_size"))
    if config.flag("block_auto_adjust_ff_dim", True):
        multiple = config.integer("block_multiple_of", 256)
        scaled = config.positive("block_ffn_dim_multiplier", 1.0) * int(2 * inner / 3)
        if scaled > LARGEST:
            raise PackError(
                f"{config.where}: block_ffn_dim_multiplier makes {scaled:g} of intermediate_size; correct it"
            )
        inner = (int(scaled) + multiple - 1) // multiple * multiple
    tied = config.flag("tie_embedding", config.flag("tie_word_embeddings", True))
    return row, {**values, "intermediate_size": inner, "tie_word_embeddings": tied}


def _lfm2_moe_features(config: Config) -> frozenset[str]:
    return _lfm2_features(config) | frozenset({"expert_bias"} if config.flag("use_expert_bias", True) else ())


HYBRIDS = (
    Architecture(
        "lfm2", "LFM2 and LFM2.5", LFM2_RULES, _lfm2_layers, _lfm2_features,
        defaults={
            "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "max_position_embeddings": 128000, "norm_eps": 1e-5, "vocab_size": 65536,
            "rope_theta": 1e6, "conv_L_cache": 3, "hidden_act": "silu", "conv_bias": False, "tie_word_embeddings": True,
            "block_auto_adjust_ff_dim": True, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0,
        },
        renamed={"norm_eps": "rms_norm_eps"}, fixed={"hidden_act": "silu"},
        prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS, adapt=_lfm2_adapt,
    ),
    Architecture(
        "lfm2_moe", "LFM2-MoE", LFM2_MOE_RULES, _lfm2_layers, _lfm2_moe_features,
        defaults={
            "hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "max_position_embeddings": 128000, "norm_eps": 1e-5, "vocab_size": 65536,
            "rope_theta": 1e6, "conv_L_cache": 3, "conv_bias": False, "hidden_act": "silu", "tie_word_embeddings": True,
            "num_experts": 32, "num_experts_per_tok": 4, "norm_topk_prob": True, "moe_intermediate_size": 1792,
        },
        renamed={"norm_eps": "rms_norm_eps", "tie_embedding": "tie_word_embeddings"}, fixed={"hidden_act": "silu"},
        older={".w1.weight": ".gate_proj.weight", ".w3.weight": ".up_proj.weight", ".w2.weight": ".down_proj.weight"},
        experts=Experts(score="sigmoid", scale="routed_scaling_factor", layers=layers_behind_dense),
    ),
)  # fmt: skip


def convolution_taps(config: Config) -> int:
    """How many tokens a short convolution reads; 0 where the configuration has none."""
    if not config.has("conv_L_cache"):
        return 0
    taps = config.integer("conv_L_cache")
    if taps > MOST_TAPS:
        raise PackError(f"{config.where}: conv_L_cache = {taps} is not supported, only up to {MOST_TAPS}")
    return taps


def kinds_of(
    layers: list[str], sizes: Mapping[str, int], recurrence: Recurrence | None = None
) -> dict[str, MetadataValue]:
    """The metadata of layers of several kinds; none where all have attention. recurrence: of the recurrent ones."""
    if not set(layers) & set(OTHER_KINDS):
        return {}
    found: dict[str, MetadataValue] = {"layer.kinds": tuple(_KINDS[kind] for kind in layers)}
    if CONVOLUTION in layers:
        found["convolution.taps"] = sizes["taps"]
    return {**found, **recurrence.metadata} if recurrence is not None else found
