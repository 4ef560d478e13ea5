"""Decoders with recurrent layers between those that attend: gated delta nets (Qwen3.5) and state spaces (Granite 4).

Factors of Granite's residuals divide the stream (llama_like.py), and with it the epsilon of norms that read it. The
norm within a state space reads what no factor divides, and has an epsilon of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from rbe_edge.sources.features import attention_biases
from rbe_edge.sources.llama_like import granite
from rbe_edge.sources.messages import shown
from rbe_edge.sources.recurrence import Recurrence, recurrence

_LAYER = "layers.N"
_TO = "layers.N.recurrence"
_EPSILON = "gated_norm_eps"  # of the norm within a state space, where it is not that of the others


def _around(kind: str, first: str) -> tuple[Rule, ...]:
    """What every layer of a kind has beside its own: the norm before it. first: the block's name in a file."""
    return (norm(f"layers.N.{first}.norm", f"{_LAYER}.input_layernorm.weight").in_layers(kind),)


_OUTER = (
    Rule("embedding", "embed_tokens.weight", "vocabulary", "width", "embedding"),
    norm("norm", "norm.weight"),
    norm("layers.N.feed_forward.norm", f"{_LAYER}.post_attention_layernorm.weight"),
    *_around(ATTENTION, "attention"),
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


def _cut(source: str, pieces: Mapping[str, str], kind: str, role: str = "matrix", ending: str = "") -> list[Rule]:
    """Rules for what `source` holds one after the other: names in a file, and how many rows each has. ending: of the
    names in the file; a bias is a vector, taps have so many columns."""
    fused, found = tuple(pieces.values()), []
    for piece, (name, rows) in enumerate(pieces.items()):
        target = f"{_TO}.{name}{ending}"
        if role == "bias":
            found.append(bias(target, source, rows, "" if kind == DELTA_NET else "taps_bias", fused, piece))
        else:
            cols = "recurrent_taps" if role == "taps" else "width"
            kept = "decay" if name == "decay" else role
            found.append(Rule(target, source, rows, cols, kept, fused, piece))
    return [rule.in_layers(kind) for rule in found]


_NET = f"{_LAYER}.linear_attn"
_QKV = {"q": _KEY, "k": _KEY, "v": _VALUE}
_DELTA_NET_RULES = (
    *_around(DELTA_NET, "recurrence"),
    *_cut(f"{_NET}.in_proj_qkv.weight", _QKV, DELTA_NET),
    *_cut(f"{_NET}.conv1d.weight", _QKV, DELTA_NET, "taps", "_taps"),
    *(rule.in_layers(DELTA_NET) for rule in (
        Rule(f"{_TO}.gate", f"{_NET}.in_proj_z.weight", _VALUE, "width"),
        Rule(f"{_TO}.decay", f"{_NET}.in_proj_a.weight", "value_heads", "width", "decay"),
        Rule(f"{_TO}.beta", f"{_NET}.in_proj_b.weight", "value_heads", "width", "decay"),
        Rule(f"{_TO}.decay.bias", f"{_NET}.dt_bias", "one", "value_heads", "bias"),
        Rule(f"{_TO}.rate", f"{_NET}.A_log", "one", "value_heads", "rate", change="exponential"),
        norm(f"{_TO}.gated_norm", f"{_NET}.norm.weight", "value_dim"),
        Rule(f"{_TO}.o", f"{_NET}.out_proj.weight", "width", _VALUE),
    )),
)  # fmt: skip

_MAMBA = f"{_LAYER}.mamba"
_VKQ = {"v": _VALUE, "k": _KEY, "q": _KEY}
_STATE_SPACE_RULES = (
    *_around(STATE_SPACE, "recurrence"),
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

QWEN35_RULES = (
    *_OUTER,
    *_attention(gated=True),
    *_DELTA_NET_RULES,
    Rule("layers.N.feed_forward.gate", f"{_LAYER}.mlp.gate_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.mlp.up_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.mlp.down_proj.weight", "width", "feed_forward"),
)
_HALVES = ("feed_forward", "feed_forward")
GRANITE_RULES = (
    *_OUTER,
    *_attention(gated=False),
    *_STATE_SPACE_RULES,
    Rule("layers.N.feed_forward.gate", f"{_LAYER}.shared_mlp.input_linear.weight", "feed_forward", "width",
         fused=_HALVES, piece=0),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.shared_mlp.input_linear.weight", "feed_forward", "width",
         fused=_HALVES, piece=1),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.shared_mlp.output_linear.weight", "width", "feed_forward"),
)  # fmt: skip


def _named(config: Config, n_layers: int, names: Mapping[str, str]) -> list[str]:
    """layer_types in our words."""
    found = config.texts("layer_types", n_layers)
    for name in found:
        if name not in names:
            raise PackError(
                f"{config.where}: layers of type {shown(name)} are not supported (supported: {' and '.join(names)})"
            )
    return [names[name] for name in found]


def _qwen35_layers(config: Config, n_layers: int) -> list[str]:
    """layer_types, else every full_attention_interval-th layer attends."""
    if config.has("layer_types"):
        return _named(config, n_layers, {"linear_attention": DELTA_NET, "full_attention": "full"})
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
    return _named(config, n_layers, names)


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


def granite_hybrid(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """Granite's factors; what experts would share is the only feed-forward step where there are none."""
    config = Config(values)
    adapted, found = granite(row, values)
    found = {**found, "intermediate_size": config.integer("shared_intermediate_size")}
    if found["rms_norm_eps"] != config.positive("rms_norm_eps"):
        found[_EPSILON] = config.positive("rms_norm_eps")
    return adapted, found


RECURRENT_DECODERS = (
    Architecture(
        "qwen3_5_text", "Qwen3.5 (dense)", QWEN35_RULES, _qwen35_layers, attention_biases,
        defaults={
            "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32,
            "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "hidden_act": "silu",
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "partial_rotary_factor": 0.25,
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
            "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        },
        prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS, towers=r"^(model\.)?visual\.",
        fixed={"hidden_act": "silu", "attn_output_gate": True}, norm_plus_one=True, partial_rotary=True,
        recurrence=_qwen35_recurrence,
    ),
    Architecture(
        "granitemoehybrid", "Granite 4 (dense)", GRANITE_RULES, _granite_layers, _granite_features,
        defaults={
            "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "num_local_experts": 8,
            "shared_intermediate_size": 1024, "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256,
            "mamba_d_conv": 4, "mamba_expand": 2,
        },
        renamed={"layers_block_type": "layer_types"}, fixed={"hidden_act": "silu", "mamba_proj_bias": False},
        options=_granite_options, adapt=granite_hybrid, recurrence=_granite_recurrence,
    ),
)  # fmt: skip
