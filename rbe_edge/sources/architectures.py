"""The architectures that can be packed. An architecture is a row of ARCHITECTURES: what its published configuration
means and which of its tensors becomes which tensor of a `.rbe` file (docs/format.md, sections 3 and 4). Here are those
of decoders; encoders.py has the others.

CONTRIBUTING.md says how to add one. The reference for what a configuration means is transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.sources.architecture import LANGUAGE_HEADS, LANGUAGE_PREFIXES, Architecture, Rule, bias, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.encoder_decoders import ENCODER_DECODERS
from rbe_edge.sources.encoders import ENCODERS
from rbe_edge.sources.experts import Experts, qwen_expert_layers
from rbe_edge.sources.features import attention_biases, attention_biases_and_qk_norm, llama_biases
from rbe_edge.sources.gemma4 import GEMMA4
from rbe_edge.sources.hybrids import HYBRIDS
from rbe_edge.sources.layers import (
    full_attention,
    gemma2_layers,
    gemma3_layers,
    one_kind,
    qwen3_moe_layers,
    qwen_layers,
    spark_layers,
)
from rbe_edge.sources.llama_like import MISTRAL_IGNORED, llama_like
from rbe_edge.sources.mixtures import MLP_EXPERTS, mixtures
from rbe_edge.sources.recurrent import RECURRENT_DECODERS

_QKV = ("query", "key", "key")
_ATTENTION = "layers.N.self_attn"
_MLP = "layers.N.mlp"

_EMBEDDING = (Rule("embedding", "embed_tokens.weight", "vocabulary", "width", "embedding"),)
_LAST_NORM = (norm("norm", "norm.weight"),)

_SEPARATE_ATTENTION = (
    Rule("layers.N.attention.q", f"{_ATTENTION}.q_proj.weight", "query", "width"),
    Rule("layers.N.attention.k", f"{_ATTENTION}.k_proj.weight", "key", "width"),
    Rule("layers.N.attention.v", f"{_ATTENTION}.v_proj.weight", "key", "width"),
    Rule("layers.N.attention.o", f"{_ATTENTION}.o_proj.weight", "width", "query"),
    bias("layers.N.attention.q.bias", f"{_ATTENTION}.q_proj.bias", "query", "qkv_bias"),
    bias("layers.N.attention.k.bias", f"{_ATTENTION}.k_proj.bias", "key", "qkv_bias"),
    bias("layers.N.attention.v.bias", f"{_ATTENTION}.v_proj.bias", "key", "qkv_bias"),
    bias("layers.N.attention.o.bias", f"{_ATTENTION}.o_proj.bias", "width", "o_bias"),
    norm("layers.N.attention.q_norm", f"{_ATTENTION}.q_norm.weight", "head_dim", "qk_norm"),
    norm("layers.N.attention.k_norm", f"{_ATTENTION}.k_norm.weight", "head_dim", "qk_norm"),
)
_SEPARATE_MLP = (
    Rule("layers.N.feed_forward.gate", f"{_MLP}.gate_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_MLP}.up_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_MLP}.down_proj.weight", "width", "feed_forward"),
    bias("layers.N.feed_forward.gate.bias", f"{_MLP}.gate_proj.bias", "feed_forward", "mlp_bias"),
    bias("layers.N.feed_forward.up.bias", f"{_MLP}.up_proj.bias", "feed_forward", "mlp_bias"),
    bias("layers.N.feed_forward.down.bias", f"{_MLP}.down_proj.bias", "width", "mlp_bias"),
)
_PRE_NORMS = (
    norm("layers.N.attention.norm", "layers.N.input_layernorm.weight"),
    norm("layers.N.feed_forward.norm", "layers.N.post_attention_layernorm.weight"),
)
_SANDWICH_NORMS = (
    norm("layers.N.attention.norm", "layers.N.input_layernorm.weight"),
    norm("layers.N.attention.post_norm", "layers.N.post_attention_layernorm.weight"),
    norm("layers.N.feed_forward.norm", "layers.N.pre_feedforward_layernorm.weight"),
    norm("layers.N.feed_forward.post_norm", "layers.N.post_feedforward_layernorm.weight"),
)
LLAMA_RULES = _EMBEDDING + _LAST_NORM + _PRE_NORMS + _SEPARATE_ATTENTION + _SEPARATE_MLP
GEMMA_RULES = _EMBEDDING + _LAST_NORM + _SANDWICH_NORMS + _SEPARATE_ATTENTION + _SEPARATE_MLP
BITNET_RULES = (
    *LLAMA_RULES,
    norm("layers.N.attention.inner_norm", f"{_ATTENTION}.attn_sub_norm.weight", "query"),
    norm("layers.N.feed_forward.inner_norm", f"{_MLP}.ffn_sub_norm.weight", "feed_forward"),
)
PHI3_RULES = (
    *_EMBEDDING,
    *_LAST_NORM,
    *_PRE_NORMS,
    Rule("layers.N.attention.q", f"{_ATTENTION}.qkv_proj.weight", "query", "width", fused=_QKV, piece=0),
    Rule("layers.N.attention.k", f"{_ATTENTION}.qkv_proj.weight", "key", "width", fused=_QKV, piece=1),
    Rule("layers.N.attention.v", f"{_ATTENTION}.qkv_proj.weight", "key", "width", fused=_QKV, piece=2),
    Rule("layers.N.attention.o", f"{_ATTENTION}.o_proj.weight", "width", "query"),
    Rule("layers.N.feed_forward.gate", f"{_MLP}.gate_up_proj.weight", "feed_forward", "width",
         fused=("feed_forward", "feed_forward"), piece=0),
    Rule("layers.N.feed_forward.up", f"{_MLP}.gate_up_proj.weight", "feed_forward", "width",
         fused=("feed_forward", "feed_forward"), piece=1),
    Rule("layers.N.feed_forward.down", f"{_MLP}.down_proj.weight", "width", "feed_forward"),
)  # fmt: skip
SPARK_RULES = (
    Rule("embedding", "embedding.weight", "vocabulary", "width", "embedding"),
    *_LAST_NORM,
    *_PRE_NORMS,
    *(
        Rule(f"layers.N.attention.{part}", f"{_ATTENTION}.q_k_v_proj.weight", size, "width", fused=_QKV, piece=piece)
        for piece, (part, size) in enumerate((("q", "query"), ("k", "key"), ("v", "key")))
    ),
    Rule("layers.N.attention.gate", f"{_ATTENTION}.g_proj.weight", "heads", "width"),
    Rule("layers.N.attention.o", f"{_ATTENTION}.out_proj.weight", "width", "query"),
    Rule("layers.N.feed_forward.gate", f"{_MLP}.gate_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.up", f"{_MLP}.up_proj.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", f"{_MLP}.down_proj.weight", "width", "feed_forward"),
)
GPT2_RULES = (
    Rule("embedding", "wte.weight", "vocabulary", "width", "embedding"),
    Rule("positions", "wpe.weight", "context", "width", "positions"),
    norm("norm", "ln_f.weight"),
    bias("norm.bias", "ln_f.bias", "width"),
    norm("layers.N.attention.norm", "h.N.ln_1.weight"),
    bias("layers.N.attention.norm.bias", "h.N.ln_1.bias", "width"),
    Rule("layers.N.attention.q", "h.N.attn.c_attn.weight", "query", "width", fused=_QKV, piece=0),
    Rule("layers.N.attention.k", "h.N.attn.c_attn.weight", "key", "width", fused=_QKV, piece=1),
    Rule("layers.N.attention.v", "h.N.attn.c_attn.weight", "key", "width", fused=_QKV, piece=2),
    Rule("layers.N.attention.o", "h.N.attn.c_proj.weight", "width", "query"),
    bias("layers.N.attention.q.bias", "h.N.attn.c_attn.bias", "query", fused=_QKV, piece=0),
    bias("layers.N.attention.k.bias", "h.N.attn.c_attn.bias", "key", fused=_QKV, piece=1),
    bias("layers.N.attention.v.bias", "h.N.attn.c_attn.bias", "key", fused=_QKV, piece=2),
    bias("layers.N.attention.o.bias", "h.N.attn.c_proj.bias", "width"),
    norm("layers.N.feed_forward.norm", "h.N.ln_2.weight"),
    bias("layers.N.feed_forward.norm.bias", "h.N.ln_2.bias", "width"),
    Rule("layers.N.feed_forward.up", "h.N.mlp.c_fc.weight", "feed_forward", "width"),
    Rule("layers.N.feed_forward.down", "h.N.mlp.c_proj.weight", "width", "feed_forward"),
    bias("layers.N.feed_forward.up.bias", "h.N.mlp.c_fc.bias", "feed_forward"),
    bias("layers.N.feed_forward.down.bias", "h.N.mlp.c_proj.bias", "width"),
)


# GPT-2 has words of its own for what all others call by the same names.
_GPT2_KEYS = {
    "n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings", "n_inner": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps", "activation_function": "hidden_act",
}  # fmt: skip

# Of the class that Llama, Mistral, Qwen and Phi-3 go back to.
_LARGE: Mapping[str, Any] = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-6, "hidden_act": "silu",
}  # fmt: skip
_QWEN_DEFAULTS: Mapping[str, Any] = {
    **_LARGE, "num_key_value_heads": 32, "intermediate_size": 22016, "max_position_embeddings": 32768,
    "vocab_size": 151936, "sliding_window": 4096,
}  # fmt: skip
_GEMMA_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "sliding_window": 4096,
    "tie_word_embeddings": True,
}  # fmt: skip


# The published configuration class and model: https://huggingface.co/XHToken/Spark-X2.5-4B
_SPARK_ROPE: Mapping[str, Any] = {
    "full_attention": {"rope_theta": 5000000, "partial_rotary_factor": 0.25},
    "sliding_attention": {"rope_theta": 10000, "partial_rotary_factor": 1.0},
}


def _qwen2_features(config: Config) -> frozenset[str]:
    return frozenset({"qkv_bias"})


_DECODERS = (
    Architecture(
        "gpt2", "GPT-2", GPT2_RULES, full_attention,
        defaults={"tie_word_embeddings": True, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
                  "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
        renamed=_GPT2_KEYS, prefixes=("transformer.", ""),
        ignored=(r"\.attn\.(bias|masked_bias)$",),
        fixed={"scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "add_cross_attention": False},
        norm="layer", position="learned", gated=False, transposed=True,
    ),
    Architecture(
        "llama", "Llama (also SmolLM, TinyLlama)", LLAMA_RULES, full_attention, llama_biases,
        defaults={**_LARGE, "intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000},
    ),
    Architecture(
        "mistral", "Mistral", LLAMA_RULES, one_kind,
        defaults={**_LARGE, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000,
                  "max_position_embeddings": 131072, "sliding_window": 4096},
        prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS, ignored=MISTRAL_IGNORED,
    ),
    Architecture(
        "qwen2", "Qwen2 and Qwen2.5", LLAMA_RULES, qwen_layers, _qwen2_features, defaults=_QWEN_DEFAULTS,
    ),
    Architecture(
        "qwen3", "Qwen3", LLAMA_RULES, qwen_layers, attention_biases_and_qk_norm,
        defaults={**_QWEN_DEFAULTS, "head_dim": 128},
    ),
    Architecture(
        "qwen3_moe", "Qwen3-MoE", LLAMA_RULES + MLP_EXPERTS, qwen3_moe_layers, attention_biases_and_qk_norm,
        defaults={**_QWEN_DEFAULTS, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24,
                  "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
                  "moe_intermediate_size": 768},
        renamed={"num_local_experts": "num_experts"}, experts=Experts(layers=qwen_expert_layers),
    ),
    Architecture(
        "bitnet", "BitNet b1.58", BITNET_RULES, full_attention, attention_biases,
        defaults={"hidden_size": 2560, "num_hidden_layers": 30, "num_attention_heads": 20, "num_key_value_heads": 5,
                  "intermediate_size": 6912, "max_position_embeddings": 2048, "vocab_size": 128256,
                  "rms_norm_eps": 1e-5, "hidden_act": "relu2", "rope_theta": 500000.0},
    ),
    Architecture(
        "phi3", "Phi-3", PHI3_RULES, one_kind,
        defaults={**_LARGE, "rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096, "hidden_size": 3072,
                  "intermediate_size": 8192, "max_position_embeddings": 4096, "vocab_size": 32064},
        partial_rotary=True,
    ),
    Architecture(
        "gemma2", "Gemma 2", GEMMA_RULES, gemma2_layers, attention_biases,
        defaults={**_GEMMA_DEFAULTS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
                  "max_position_embeddings": 8192, "vocab_size": 256000},
        fixed={"use_bidirectional_attention": False}, norm_place="sandwich", norm_plus_one=True,
        activation_key="hidden_activation", scaled_embedding=True, softcaps=("attention", "logit"),
    ),
    Architecture(
        "gemma3_text", "Gemma 3 (text)", GEMMA_RULES, gemma3_layers, attention_biases_and_qk_norm,
        defaults={**_GEMMA_DEFAULTS, "max_position_embeddings": 131072, "vocab_size": 262208},
        prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS,
        towers=r"^(model\.)?(vision_tower|multi_modal_projector)\.",
        # transformers reads attn_logit_softcapping of Gemma 3 but does not compute it
        fixed={"use_bidirectional_attention": False, "attn_logit_softcapping": None},
        norm_place="sandwich", norm_plus_one=True, rope_per_layer_type=True,
        activation_key="hidden_activation", scaled_embedding=True, softcaps=("logit",),
    ),
    Architecture(
        "spark2_5", "Spark-X2.5", SPARK_RULES, spark_layers,
        defaults={"hidden_size": 2048, "intermediate_size": 6656, "num_hidden_layers": 28, "num_attention_heads": 8,
                  "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 133120, "sliding_window": 512,
                  "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "hidden_act": "gelu",
                  "rope_parameters": _SPARK_ROPE},
        fixed={"attention_bias": False, "mlp_bias": False, "headwise_attn_output_gate": True,
               "gate_attn_act_mode": "sigmoid"},
        partial_rotary=True, rope_per_layer_type=True,
    ),
)  # fmt: skip


ARCHITECTURES: tuple[Architecture, ...] = (
    *_DECODERS,
    GEMMA4,
    *llama_like(LLAMA_RULES, _LARGE),
    *HYBRIDS,
    *mixtures(LLAMA_RULES, _LARGE),
    *RECURRENT_DECODERS,
    *ENCODERS,
    *ENCODER_DECODERS,
)


def supported_names() -> tuple[str, ...]:
    """What can be packed, for people."""
    return tuple(f"{row.title}" for row in ARCHITECTURES)
