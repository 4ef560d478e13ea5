"""Decoders with recurrent layers between those that attend: gated delta nets (Qwen3.5) and state spaces (Granite 4).

Factors of Granite's residuals divide the stream (llama_like.py), and with it the epsilon of norms that read it. The
norm within a state space reads what no factor divides, and has an epsilon of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.architecture import (
    ATTENTION,
    DELTA_NET,
    LANGUAGE_HEADS,
    LANGUAGE_PREFIXES,
    STATE_SPACE,
    Architecture,
    Rule,
    bias,
    norm,
)
from rbe_edge.sources.config import Config
from rbe_edge.sources.experts import Experts, qwen_expert_layers
from rbe_edge.sources.features import attention_biases
from rbe_edge.sources.layers import named_layers
from rbe_edge.sources.llama_like import granite
from rbe_edge.sources.messages import shown
from rbe_edge.sources.mixtures import GRANITE_EXPERTS, GRANITE_SHARED, MLP_EXPERTS, MLP_SHARED
from rbe_edge.sources.recurrence import Recurrence, recurrence

_LAYER = "layers.N"
_TO = "layers.N.recurrence"
_EPSILON = "gated_norm_eps"  # of the norm within a state space, where it is not that of the others


def _norm_before(kind: str, first: str) -> Rule:
    """Of layers of a kind. first: the block's name in a file."""
    return norm(f"layers.N.{first}.norm", f"{_LAYER}.input_layernorm.weight").in_layers(kind)


_OUTER = (
    Rule("embedding", "embed_tokens.weight", "vocabulary", "width", "embedding"),
    norm("norm", "norm.weight"),
    norm("layers.N.feed_forward.norm", f"{_LAYER}.post_attention_layernorm.weight"),
    _norm_before(ATTENTION, "attention"),
)


def _attention(gated: bool) -> tuple[Rule, ...]:
    """Llama's matrices; gated: each head of q_proj has its query and its gate, and q and k have norms."""
    place = f"{_LAYER}.self_attn"
    both = ("head_dim", "head_dim") if gated else ()
    found = [
        Rule("layers.N.attention.q", f"{place}.q_proj.weight", "query", "width", fused=both, per_head=gated),
        Rule("layers.N.attention.k", f"{place}.k_proj.weight", "key", "width"),
        Rule("layers.N.attention.v", f"{place}.v_proj.weight", "key", "width"),
        Rule("layers.N.attention.o", f"{place}.o_proj.weight", "width", "query"),
        bias("layers.N.attention.k.bias", f"{place}.k_proj.bias", "key", "qkv_bias"),
        bias("layers.N.attention.v.bias", f"{place}.v_proj.bias", "key", "qkv_bias"),
        bias("layers.N.attention.o.bias", f"{place}.o_proj.bias", "width", "o_bias"),
        Rule("layers.N.attention.q.bias", f"{place}.q_proj.bias", "one", "query", "bias", both, needs="qkv_bias",
             per_head=gated),
    ]  # fmt: skip
    if gated:
        found += [
            Rule("layers.N.attention.gate", f"{place}.q_proj.weight", "query", "width", fused=both, piece=1,
                 per_head=True),
            Rule("layers.N.attention.gate.bias", f"{place}.q_proj.bias", "one", "query", "bias", both, 1, "qkv_bias",
                 per_head=True),
            norm("layers.N.attention.q_norm", f"{place}.q_norm.weight", "head_dim"),
            norm("layers.N.attention.k_norm", f"{place}.k_norm.weight", "head_dim"),
        ]  # fmt: skip
    return tuple(rule.in_layers(ATTENTION) for rule in found)


_KEY, _VALUE = "recurrent_key", "recurrent_value"


def _cut(
    source: str,
    pieces: Mapping[str, str],
    kind: str,
    role: str = "matrix",
    ending: str = "",
    rows: Mapping[str, str] | None = None,
) -> list[Rule]:
    """Rules for what `source` holds one after the other: names in a file, and how many rows each has. ending: of the
    names in the file; a bias is a vector, taps have so many columns. rows: where `pieces` are those of each key head,
    how many there are of all."""
    fused, found = tuple(pieces.values()), []
    for piece, (name, size) in enumerate(pieces.items()):
        target = f"{_TO}.{name}{ending}"
        if role == "bias":
            found.append(bias(target, source, size, "taps_bias", fused, piece))
        else:
            cols = "recurrent_taps" if role == "taps" else "width"
            kept = "decay" if name in ("decay", "beta") else role
            found.append(Rule(target, source, (rows or pieces)[name], cols, kept, fused, piece, per_head=bool(rows)))
    return [rule.in_layers(kind) for rule in found]


_NET = f"{_LAYER}.linear_attn"
_QKV = {"q": _KEY, "k": _KEY, "v": _VALUE}
#: Of all delta nets: what stands beside the matrices that read the stream.
_DELTA_NET = (
    _norm_before(DELTA_NET, "recurrence"),
    *_cut(f"{_NET}.conv1d.weight", _QKV, DELTA_NET, "taps", "_taps"),
    *(rule.in_layers(DELTA_NET) for rule in (
        Rule(f"{_TO}.decay.bias", f"{_NET}.dt_bias", "one", "value_heads", "bias"),
        Rule(f"{_TO}.rate", f"{_NET}.A_log", "one", "value_heads", "rate", change="exponential"),
        norm(f"{_TO}.gated_norm", f"{_NET}.norm.weight", "value_dim"),
        Rule(f"{_TO}.o", f"{_NET}.out_proj.weight", "width", _VALUE),
    )),
)  # fmt: skip
_QWEN35_NET = (
    *_cut(f"{_NET}.in_proj_qkv.weight", _QKV, DELTA_NET),
    *_cut(f"{_NET}.in_proj_z.weight", {"gate": _VALUE}, DELTA_NET),
    *_cut(f"{_NET}.in_proj_a.weight", {"decay": "value_heads"}, DELTA_NET),
    *_cut(f"{_NET}.in_proj_b.weight", {"beta": "value_heads"}, DELTA_NET),
    *_DELTA_NET,
)
_OF_KEY = {"q": "key_dim", "k": "key_dim", "v": "values_of_key", "gate": "values_of_key"}
_HEADS_OF_KEY = {"beta": "heads_of_key", "decay": "heads_of_key"}
_QWEN3_NEXT_NET = (
    *_cut(f"{_NET}.in_proj_qkvz.weight", _OF_KEY, DELTA_NET, rows={**_QKV, "gate": _VALUE}),
    *_cut(f"{_NET}.in_proj_ba.weight", _HEADS_OF_KEY, DELTA_NET, rows=dict.fromkeys(_HEADS_OF_KEY, "value_heads")),
    *_DELTA_NET,
)

_MAMBA = f"{_LAYER}.mamba"
_VKQ = {"v": _VALUE, "k": _KEY, "q": _KEY}
_STATE_SPACE_RULES = (
    _norm_before(STATE_SPACE, "recurrence"),
    *_cut(f"{_MAMBA}.in_proj.weight", {"gate": _VALUE, **_VKQ, "decay": "value_heads"}, STATE_SPACE),
    *_cut(f"{_MAMBA}.conv1d.weight", _VKQ, STATE_SPACE, "taps", "_taps"),
    *_cut(f"{_MAMBA}.conv1d.bias", _VKQ, STATE_SPACE, "bias", "_taps.bias"),
    *(rule.in_layers(STATE_SPACE) for rule in (
        Rule(f"{_TO}.decay.bias", f"{_MAMBA}.dt_bias", "one", "value_heads", "bias"),
        Rule(f"{_TO}.rate", f"{_MAMBA}.A_log", "one", "value_heads", "rate", change="exponential"),
        Rule(f"{_TO}.skip", f"{_MAMBA}.D", "one", "value_heads", "bias"),
        norm(f"{_TO}.gated_norm", f"{_MAMBA}.norm.weight", _VALUE),
        Rule(f"{_TO}.o", f"{_MAMBA}.out_proj.weight", "width", _VALUE),
    )),
)  # fmt: skip

_MLP = (
    Rule("layers.N.feed_forward.gate", f"{_LAYER}.mlp.gate_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.mlp.up_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.mlp.down_proj.weight", "width", "feed_forward"),
)
_MIXTURE = (*_MLP, *MLP_EXPERTS, *MLP_SHARED)
_QWEN = (*_OUTER, *_attention(gated=True))
_GRANITE = (*_OUTER, *_attention(gated=False), *_STATE_SPACE_RULES)
_HALVES = ("feed_forward", "feed_forward")
_SHARED_ALONE = (
    Rule("layers.N.feed_forward.gate", f"{_LAYER}.shared_mlp.input_linear.weight", "feed_forward", "width",
         fused=_HALVES, piece=0),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.shared_mlp.input_linear.weight", "feed_forward", "width",
         fused=_HALVES, piece=1),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.shared_mlp.output_linear.weight", "width", "feed_forward"),
)  # fmt: skip


def _qwen35_layers(config: Config, n_layers: int) -> list[str]:
    """layer_types, else every full_attention_interval-th layer attends."""
    if config.has("layer_types"):
        return named_layers(config, n_layers, {"linear_attention": DELTA_NET, "full_attention": "full"})
    period = config.integer("full_attention_interval", 4)
    return [DELTA_NET if (layer + 1) % period else "full" for layer in range(n_layers)]


def _qwen35_recurrence(config: Config) -> Recurrence:
    return recurrence(config, {
        "key_heads": "linear_num_key_heads", "value_heads": "linear_num_value_heads",
        "key_dim": "linear_key_head_dim", "value_dim": "linear_value_head_dim", "taps": "linear_conv_kernel_dim",
    })  # fmt: skip


def _granite_layers(config: Config, n_layers: int) -> list[str]:
    """layer_types, else state spaces in all."""
    if not config.has("layer_types"):
        return [STATE_SPACE] * n_layers
    names = {"linear_attention": STATE_SPACE, "full_attention": "full", "mamba": STATE_SPACE, "attention": "full"}
    return named_layers(config, n_layers, names)


def _granite_features(config: Config) -> frozenset[str]:
    return attention_biases(config) | frozenset({"taps_bias"} if config.flag("mamba_conv_bias", True) else ())


def _granite_options(config: Config, n_layers: int, kinds: list[str]) -> dict[str, MetadataValue]:
    """No rotary positions, unless the configuration names these."""
    if config.values.get("position_embedding_type") == "rope" or "full" not in kinds:
        return {}
    return {"position.rotary_layers": (0,) * n_layers}


def _granite_recurrence(config: Config) -> Recurrence:
    """The inner width is so many times the width, and of so many heads. Steps must not be bounded."""
    inner, heads = config.integer("mamba_expand") * config.integer("hidden_size"), config.integer("mamba_n_heads")
    given = config.values.get("mamba_d_head")
    size = inner // heads if given in (None, "auto") else config.integer("mamba_d_head")
    if size * heads != inner:
        raise PackError(
            f"{config.where}: {heads} heads (mamba_n_heads) of {size} (mamba_d_head) are not the inner width, {inner}; "
            f"correct the file"
        )
    limit = config.values.get("time_step_limit")
    if limit is not None and not _is_without_limit(limit):
        raise PackError(f"{config.where}: time_step_limit = {shown(limit)} is not supported, only from 0 to infinity")
    keys = {
        "key_heads": "mamba_n_groups", "value_heads": "mamba_n_heads", "key_dim": "mamba_d_state",
        "value_dim": "mamba_d_head", "taps": "mamba_d_conv",
    }  # fmt: skip
    return recurrence(
        config.merged(mamba_d_head=size), keys, config.positive(_EPSILON) if config.has(_EPSILON) else 0.0
    )


def _is_without_limit(limit: object) -> bool:
    """Infinity as such, or as transformers 5 writes it."""
    if not isinstance(limit, (list, tuple)) or len(limit) != 2:
        return False
    least, most = (value.get("__float__") if isinstance(value, dict) else value for value in limit)
    return least in (0, "0.0") and most in (math.inf, "Infinity")


def _granite_hybrid(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """Granite's factors; what experts share is the only feed-forward step where there are none."""
    config = Config(values)
    adapted, found = granite(row, values)
    if not values.get("num_experts"):
        adapted = replace(adapted, experts=None)
        found = {**found, "intermediate_size": config.integer("shared_intermediate_size")}
    if found["rms_norm_eps"] != config.positive("rms_norm_eps"):
        found = {**found, _EPSILON: config.positive("rms_norm_eps")}
    return adapted, found


def _without_dense(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """All layers have experts, and no width of a feed-forward part is named."""
    return row, {**values, "intermediate_size": values.get("moe_intermediate_size")}


_QWEN35_SIZES: Mapping[str, Any] = {
    "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "partial_rotary_factor": 0.25,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32,
}  # fmt: skip
_MIXTURE_SIZES: Mapping[str, Any] = {
    **_QWEN35_SIZES, "hidden_size": 2048, "num_key_value_heads": 2, "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
}  # fmt: skip
_SHARED_WIDTH = "shared_expert_intermediate_size"


def _qwen(model_type: str, title: str, rules: tuple[Rule, ...], defaults: Mapping[str, Any]) -> Architecture:
    """What all with delta nets of Qwen have."""
    return Architecture(
        model_type, title, (*_QWEN, *rules), _qwen35_layers, attention_biases, defaults=defaults,
        prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS, towers=r"^(model\.)?visual\.",
        fixed={"hidden_act": "silu", "attn_output_gate": True}, norm_plus_one=True, partial_rotary=True,
        recurrence=_qwen35_recurrence,
    )  # fmt: skip


RECURRENT_DECODERS = (
    _qwen("qwen3_5_text", "Qwen3.5", (*_QWEN35_NET, *_MLP), _QWEN35_SIZES),
    replace(
        _qwen("qwen3_5_moe_text", "Qwen3.5-MoE", (*_QWEN35_NET, *_MIXTURE), {
            **_MIXTURE_SIZES, "num_hidden_layers": 40, "num_experts": 256, "num_experts_per_tok": 8,
        }),
        experts=Experts(normalize=True, shared=_SHARED_WIDTH, share=True), adapt=_without_dense,
    ),
    replace(
        _qwen("qwen3_next", "Qwen3-Next", (*_QWEN3_NEXT_NET, *_MIXTURE), {
            **_MIXTURE_SIZES, "vocab_size": 151936, "intermediate_size": 5632, "num_hidden_layers": 48,
            "num_experts": 512, "num_experts_per_tok": 10, "norm_topk_prob": True,
        }),
        experts=Experts(layers=qwen_expert_layers, shared=_SHARED_WIDTH, share=True),
    ),
    Architecture(
        "granitemoehybrid", "Granite 4", (*_GRANITE, *_SHARED_ALONE, *GRANITE_EXPERTS, *GRANITE_SHARED),
        _granite_layers, _granite_features,
        defaults={
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
            "num_local_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 1024, "mamba_n_heads": 128,
            "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
        },
        renamed={"layers_block_type": "layer_types", "num_local_experts": "num_experts"},
        fixed={"hidden_act": "silu", "mamba_proj_bias": False}, options=_granite_options, adapt=_granite_hybrid,
        recurrence=_granite_recurrence,
        experts=Experts(width="intermediate_size", normalize=True, shared="shared_intermediate_size"),
    ),
)  # fmt: skip
