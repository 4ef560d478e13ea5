"""The encoder-decoders that can be packed: rows as in architectures.py. The main layers are the decoder's.

T5 and its relatives: T5 v1.0 has one matrix into the feed-forward part and shares its head with the embedding, v1.1
(Flan-T5, mT5, ByT5) has a gate and a head of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.architecture import Architecture, Rule, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.layers import full_attention
from rbe_edge.sources.messages import shown


def _attention(target: str, source: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{target}.q", f"{source}.q.weight", "query", "width"),
        Rule(f"{target}.k", f"{source}.k.weight", "key", "width"),
        Rule(f"{target}.v", f"{source}.v.weight", "key", "width"),
        Rule(f"{target}.o", f"{source}.o.weight", "width", "query"),
    )


def _feed_forward(target: str, source: str, gated: bool) -> tuple[Rule, ...]:
    at = f"{source}.DenseReluDense"
    gate = (Rule(f"{target}.gate", f"{at}.wi_0.weight", "feed_forward", "width"),) if gated else ()
    return (
        *gate,
        Rule(f"{target}.up", f"{at}.{'wi_1' if gated else 'wi'}.weight", "feed_forward", "width"),
        Rule(f"{target}.down", f"{at}.wo.weight", "width", "feed_forward"),
    )


def _encoder_layer(prefix: str, gated: bool) -> tuple[Rule, ...]:
    """prefix: of the targets."""
    block = "encoder.block.N.layer"
    return (
        norm(f"{prefix}layers.N.attention.norm", f"{block}.0.layer_norm.weight"),
        *_attention(f"{prefix}layers.N.attention", f"{block}.0.SelfAttention"),
        norm(f"{prefix}layers.N.feed_forward.norm", f"{block}.1.layer_norm.weight"),
        *_feed_forward(f"{prefix}layers.N.feed_forward", f"{block}.1", gated),
    )


_EMBEDDING = Rule("embedding", "shared.weight", "vocabulary", "width", "embedding")


def _rules(gated: bool) -> tuple[Rule, ...]:
    block = "decoder.block.N.layer"
    return (
        _EMBEDDING,
        norm("norm", "decoder.final_layer_norm.weight"),
        norm("encoder.norm", "encoder.final_layer_norm.weight"),
        norm("layers.N.attention.norm", f"{block}.0.layer_norm.weight"),
        *_attention("layers.N.attention", f"{block}.0.SelfAttention"),
        norm("layers.N.cross.norm", f"{block}.1.layer_norm.weight"),
        *_attention("layers.N.cross", f"{block}.1.EncDecAttention"),
        norm("layers.N.feed_forward.norm", f"{block}.2.layer_norm.weight"),
        *_feed_forward("layers.N.feed_forward", f"{block}.2", gated),
    )


def _encoder_alone(gated: bool) -> tuple[Rule, ...]:
    return (_EMBEDDING, norm("norm", "encoder.final_layer_norm.weight"), *_encoder_layer("", gated))


def _adapt(row: Architecture, values: Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """feed_forward_proj says whether there is a gate, and tie_word_embeddings whether the hidden states are scaled
    before the head (T5 v1.0 alone); T5EncoderModel has the encoder alone."""
    projection = values.get("feed_forward_proj")
    words = projection.split("-") if isinstance(projection, str) else []
    if not words or len(words) > 2 or (len(words) == 2 and words[0] != "gated"):
        raise PackError(f"config.json: feed_forward_proj {shown(projection)} is not supported; correct the file")
    gated = len(words) == 2
    named = values.get("architectures")
    alone = isinstance(named, list) and named and str(named[0]).endswith("EncoderModel")
    scales = values.get("tie_word_embeddings") is not False and row.model_type == "t5"
    if isinstance(values.get("scale_decoder_outputs"), bool):
        scales = values["scale_decoder_outputs"]
    width, longest = values.get("hidden_size"), values.get("n_positions")
    norm_scales = {"norm": width**-0.5} if scales and isinstance(width, int) and width > 0 else {}
    layers = values.get("num_layers")
    changed = {
        **values,
        "hidden_act": "gelu_new" if projection == "gated-gelu" else words[-1],
        "query_pre_attn_scalar": 1,
        "num_encoder_layers": layers,
        "num_hidden_layers": layers
        if alone or values.get("num_decoder_layers") is None
        else values["num_decoder_layers"],
        # distances, not positions, have weights: beyond n_positions the model is as good as beyond the last distance
        "max_position_embeddings": max(longest, _CONTEXT) if isinstance(longest, int) else _CONTEXT,
    }
    if alone:
        row = replace(row, rules=_encoder_alone(gated), both_directions=True, gated=gated)
        return row, {**changed, "tie_word_embeddings": True}
    encoder = _encoder_layer("encoder.", gated)
    return replace(row, rules=_rules(gated), encoder_rules=encoder, gated=gated, norm_scales=norm_scales), changed


def decoder_start(config: Config, sizes: Mapping[str, int]) -> int:
    """The token that begins an answer: that of padding, where the configuration does not say."""
    token = config.values.get("decoder_start_token_id", config.values.get("pad_token_id", 0))
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < sizes["vocabulary"]:
        raise PackError(
            f"{config.where}: decoder_start_token_id is {shown(token)}, which is no token; correct the file"
        )
    return token


_CONTEXT = 1024  # what mT5 and ByT5 were trained on at most

_KEYS = {
    "d_model": "hidden_size", "num_heads": "num_attention_heads", "d_kv": "head_dim", "d_ff": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
}  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {
    "d_model": 512, "d_kv": 64, "num_heads": 8, "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}  # fmt: skip


def _row(model_type: str, title: str, **defaults: Any) -> Architecture:
    return Architecture(
        model_type, title, _rules(True), full_attention, defaults={**_DEFAULTS, **defaults}, renamed=_KEYS,
        prefixes=("",), position="relative", adapt=_adapt,
        ignored=(r"^(encoder|decoder)\.embed_tokens\.weight$", r"EncDecAttention\.relative_attention_bias\.weight$"),
    )  # fmt: skip


ENCODER_DECODERS = (
    _row("t5", "T5 (also Flan-T5, ByT5)", d_ff=2048, num_layers=6, vocab_size=32128, feed_forward_proj="relu"),
    _row(
        "mt5",
        "mT5",
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        vocab_size=250112,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
    ),
)
