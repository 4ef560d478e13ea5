"""The encoders that can be packed: rows as in architectures.py. What stands behind their last layer is in heads.py.

A norm behind each part of a layer, as in BERT, is the norm of the stream there. No norm follows the last layer then.
"""

from __future__ import annotations

from typing import Any

from rbe_edge.sources.architecture import Architecture, Rule, bias, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.layers import full_attention, modernbert_layers

_LAYER = "encoder.layer.N"
_BERT_LAYER = (
    Rule("layers.N.attention.q", f"{_LAYER}.attention.self.query.weight", "query", "width"),
    Rule("layers.N.attention.k", f"{_LAYER}.attention.self.key.weight", "key", "width"),
    Rule("layers.N.attention.v", f"{_LAYER}.attention.self.value.weight", "key", "width"),
    Rule("layers.N.attention.o", f"{_LAYER}.attention.output.dense.weight", "width", "query"),
    bias("layers.N.attention.q.bias", f"{_LAYER}.attention.self.query.bias", "query"),
    bias("layers.N.attention.k.bias", f"{_LAYER}.attention.self.key.bias", "key"),
    bias("layers.N.attention.v.bias", f"{_LAYER}.attention.self.value.bias", "key"),
    bias("layers.N.attention.o.bias", f"{_LAYER}.attention.output.dense.bias", "width"),
    norm("layers.N.attention.stream_norm", f"{_LAYER}.attention.output.LayerNorm.weight"),
    bias("layers.N.attention.stream_norm.bias", f"{_LAYER}.attention.output.LayerNorm.bias", "width"),
    Rule("layers.N.feed_forward.up", f"{_LAYER}.intermediate.dense.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_LAYER}.output.dense.weight", "width", "feed_forward"),
    bias("layers.N.feed_forward.up.bias", f"{_LAYER}.intermediate.dense.bias", "feed_forward"),
    bias("layers.N.feed_forward.down.bias", f"{_LAYER}.output.dense.bias", "width"),
    norm("layers.N.feed_forward.stream_norm", f"{_LAYER}.output.LayerNorm.weight"),
    bias("layers.N.feed_forward.stream_norm.bias", f"{_LAYER}.output.LayerNorm.bias", "width"),
)
_TOKENS = Rule("embedding", "embeddings.word_embeddings.weight", "vocabulary", "width", "embedding")
_SEGMENTS = Rule(
    "segments", "embeddings.token_type_embeddings.weight", "segments", "width", "segments", needs="segments"
)
BERT_RULES = (
    _TOKENS,
    # RoBERTa counts positions from behind the number of its padding token; a sentence encoder may use the first alone.
    Rule("positions", "embeddings.position_embeddings.weight", "context", "width", "positions",
         fused=("positions_before", "context", "positions_behind"), piece=1),
    _SEGMENTS,
    norm("embedding.norm", "embeddings.LayerNorm.weight"),
    bias("embedding.norm.bias", "embeddings.LayerNorm.bias", "width"),
    *_BERT_LAYER,
)  # fmt: skip

_MODERN = "layers.N"
MODERNBERT_RULES = (
    Rule("embedding", "embeddings.tok_embeddings.weight", "vocabulary", "width", "embedding"),
    norm("embedding.norm", "embeddings.norm.weight"),
    bias("embedding.norm.bias", "embeddings.norm.bias", "width", "norm_bias"),
    norm("norm", "final_norm.weight"),
    bias("norm.bias", "final_norm.bias", "width", "norm_bias"),
    norm("layers.N.attention.norm", f"{_MODERN}.attn_norm.weight", from_layer=1),
    bias("layers.N.attention.norm.bias", f"{_MODERN}.attn_norm.bias", "width", "norm_bias", from_layer=1),
    *(
        Rule(f"layers.N.attention.{part}", f"{_MODERN}.attn.Wqkv.weight", size, "width",
             fused=("query", "key", "key"), piece=piece)
        for piece, (part, size) in enumerate((("q", "query"), ("k", "key"), ("v", "key")))
    ),
    *(
        bias(f"layers.N.attention.{part}.bias", f"{_MODERN}.attn.Wqkv.bias", size, "qkv_bias",
             fused=("query", "key", "key"), piece=piece)
        for piece, (part, size) in enumerate((("q", "query"), ("k", "key"), ("v", "key")))
    ),
    Rule("layers.N.attention.o", f"{_MODERN}.attn.Wo.weight", "width", "query"),
    bias("layers.N.attention.o.bias", f"{_MODERN}.attn.Wo.bias", "width", "o_bias"),
    norm("layers.N.feed_forward.norm", f"{_MODERN}.mlp_norm.weight"),
    bias("layers.N.feed_forward.norm.bias", f"{_MODERN}.mlp_norm.bias", "width", "norm_bias"),
    *(
        Rule(f"layers.N.feed_forward.{part}", f"{_MODERN}.mlp.Wi.weight", "feed_forward", "width",
             fused=("feed_forward", "feed_forward"), piece=piece)
        for piece, part in enumerate(("gate", "up"))
    ),
    *(
        bias(f"layers.N.feed_forward.{part}.bias", f"{_MODERN}.mlp.Wi.bias", "feed_forward", "mlp_bias",
             fused=("feed_forward", "feed_forward"), piece=piece)
        for piece, part in enumerate(("gate", "up"))
    ),
    Rule("layers.N.feed_forward.down", f"{_MODERN}.mlp.Wo.weight", "width", "feed_forward"),
    bias("layers.N.feed_forward.down.bias", f"{_MODERN}.mlp.Wo.bias", "width", "mlp_bias"),
)  # fmt: skip

_NOMIC = "encoder.layers.N"
NOMIC_RULES = (
    _TOKENS,
    _SEGMENTS,
    norm("embedding.norm", "emb_ln.weight"),
    bias("embedding.norm.bias", "emb_ln.bias", "width"),
    *(
        Rule(f"layers.N.attention.{part}", f"{_NOMIC}.attn.Wqkv.weight", size, "width",
             fused=("query", "key", "key"), piece=piece)
        for piece, (part, size) in enumerate((("q", "query"), ("k", "key"), ("v", "key")))
    ),
    Rule("layers.N.attention.o", f"{_NOMIC}.attn.out_proj.weight", "width", "query"),
    norm("layers.N.attention.stream_norm", f"{_NOMIC}.norm1.weight"),
    bias("layers.N.attention.stream_norm.bias", f"{_NOMIC}.norm1.bias", "width"),
    Rule("layers.N.feed_forward.gate", f"{_NOMIC}.mlp.fc12.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_NOMIC}.mlp.fc11.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_NOMIC}.mlp.fc2.weight", "width", "feed_forward"),
    norm("layers.N.feed_forward.stream_norm", f"{_NOMIC}.norm2.weight"),
    bias("layers.N.feed_forward.stream_norm.bias", f"{_NOMIC}.norm2.bias", "width"),
)  # fmt: skip


def _segments(config: Config) -> frozenset[str]:
    return frozenset({"segments"} if config.values.get("type_vocab_size") else ())


def _modernbert_features(config: Config) -> frozenset[str]:
    found = {"norm_bias"} if config.flag("norm_bias", False) else set()
    found |= {"qkv_bias", "o_bias"} if config.flag("attention_bias", False) else set()
    return frozenset(found | ({"mlp_bias"} if config.flag("mlp_bias", False) else set()))


def _half_window(config: Config) -> int:
    """ModernBERT says how many tokens a layer sees to both sides together."""
    return config.integer("local_attention") // 2 + 1


# What BERT was published with and nobody trains any more is refused by its name.
_ABSOLUTE: dict[str, Any] = {
    "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False, "pruned_heads": {},
}  # fmt: skip
_BERT_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "vocab_size": 30522, "pad_token_id": 0, "tie_word_embeddings": True,
}  # fmt: skip
_ROBERTA_DEFAULTS = {**_BERT_DEFAULTS, "vocab_size": 50265, "pad_token_id": 1}
_XLM_DEFAULTS = {**_ROBERTA_DEFAULTS, "vocab_size": 30522}
_IGNORED = (r"(^|\.)position_ids$", r"(^|\.)pooler\.dense\.", r"\.decoder\.bias$", r"rotary_emb\.inv_freq$")
_OLDER = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}


def _bert(model_type: str, title: str, prefix: str, lm_head: str, defaults: dict[str, Any]) -> Architecture:
    return Architecture(
        model_type, title, BERT_RULES, full_attention, _segments, defaults=defaults,
        renamed={"layer_norm_eps": "rms_norm_eps"}, prefixes=(f"{prefix}.", ""), lm_heads=(lm_head,),
        ignored=_IGNORED, fixed=_ABSOLUTE, norm="layer", norm_place="post", position="learned", gated=False,
        both_directions=True, positions_follow_padding=prefix == "roberta", older=_OLDER,
    )  # fmt: skip


ENCODERS: tuple[Architecture, ...] = (
    _bert("bert", "BERT", "bert", "cls.predictions.decoder.weight", _BERT_DEFAULTS),
    _bert("roberta", "RoBERTa", "roberta", "lm_head.decoder.weight", _ROBERTA_DEFAULTS),
    _bert("xlm-roberta", "XLM-RoBERTa", "roberta", "lm_head.decoder.weight", _XLM_DEFAULTS),
    _bert("camembert", "CamemBERT", "roberta", "lm_head.decoder.weight", _XLM_DEFAULTS),
    Architecture(
        "modernbert", "ModernBERT", MODERNBERT_RULES, modernbert_layers, _modernbert_features,
        defaults={"hidden_size": 768, "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152,
                  "hidden_activation": "gelu", "max_position_embeddings": 8192, "norm_eps": 1e-5, "vocab_size": 50368,
                  "local_attention": 128, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
                  "tie_word_embeddings": True},
        renamed={"norm_eps": "rms_norm_eps", "global_rope_theta": "rope_theta",
                 "local_rope_theta": "rope_local_base_freq"},
        prefixes=("model.", ""), lm_heads=("decoder.weight",), ignored=_IGNORED, norm="layer",
        rope_per_layer_type=True, activation_key="hidden_activation", both_directions=True, window=_half_window,
    ),
    Architecture(
        "nomic_bert", "nomic-bert", NOMIC_RULES, full_attention, _segments,
        defaults={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
                  "hidden_act": "silu", "max_position_embeddings": 2048, "layer_norm_eps": 1e-12, "vocab_size": 30528,
                  "type_vocab_size": 2, "pad_token_id": 0, "rotary_emb_base": 1000.0, "tie_word_embeddings": True},
        renamed={"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
                 "n_inner": "intermediate_size", "n_positions": "max_position_embeddings",
                 "layer_norm_epsilon": "layer_norm_eps", "layer_norm_eps": "rms_norm_eps",
                 "activation_function": "hidden_act", "rotary_emb_base": "rope_theta"},
        prefixes=("nomic_bert.", "bert.", ""), lm_heads=("cls.predictions.decoder.weight",), ignored=_IGNORED,
        fixed={**_ABSOLUTE, "prenorm": False, "causal": False, "parallel_block": False, "use_rms_norm": False,
               "rotary_emb_interleaved": False, "rotary_emb_fraction": 1.0, "rotary_emb_scale_base": None,
               "rotary_scaling_factor": None, "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False},
        norm="layer", norm_place="post", both_directions=True,
    ),
)  # fmt: skip
