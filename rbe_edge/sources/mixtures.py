"""Rows of mixtures of experts whose other layers are those of Llama or of Granite (docs/architectures.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.sources.architecture import Architecture, Rule, norm
from rbe_edge.sources.expert_rules import expert_rules
from rbe_edge.sources.experts import Experts
from rbe_edge.sources.features import attention_biases
from rbe_edge.sources.layers import full_attention
from rbe_edge.sources.llama_like import granite, whole_norms

_LLAMA_NAMES = ("gate_proj", "up_proj", "down_proj")
#: Of Qwen3-MoE and OLMoE.
MLP_EXPERTS = expert_rules("layers.N.mlp.gate.weight", "layers.N.mlp.experts.E", _LLAMA_NAMES)
_GRANITE_EXPERTS = expert_rules(
    "layers.N.block_sparse_moe.router.layer.weight", "layers.N.block_sparse_moe.experts.E", _LLAMA_NAMES
)


def _whole(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Llama's rules with norms over all heads of q and of k as one vector."""
    names = ("layers.N.attention.q_norm", "layers.N.attention.k_norm")
    return (
        *(rule for rule in rules if rule.target not in names),
        norm(names[0], "layers.N.self_attn.q_norm.weight", "query"),
        norm(names[1], "layers.N.self_attn.k_norm.weight", "key"),
    )


def mixtures(rules: tuple[Rule, ...], large: Mapping[str, Any]) -> tuple[Architecture, ...]:
    """rules: Llama's; large: the defaults that it shares with Mistral and Qwen."""
    return (
        Architecture(
            "olmoe", "OLMoE", (*_whole(rules), *MLP_EXPERTS), full_attention, attention_biases,
            defaults={**large, "rms_norm_eps": 1e-5, "hidden_size": 2048, "intermediate_size": 2048,
                      "num_hidden_layers": 16, "num_attention_heads": 16, "max_position_embeddings": 4096,
                      "vocab_size": 50304, "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": False},
            fixed={"clip_qkv": None}, options=whole_norms, experts=Experts(width="intermediate_size"),
        ),
        Architecture(
            "granitemoe", "Granite 3 MoE", (*rules, *_GRANITE_EXPERTS), full_attention, attention_biases,
            defaults={**large, "intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000,
                      "num_local_experts": 8, "num_experts_per_tok": 2},
            renamed={"num_local_experts": "num_experts"}, adapt=granite,
            experts=Experts(width="intermediate_size", normalize=True),
        ),
    )  # fmt: skip
