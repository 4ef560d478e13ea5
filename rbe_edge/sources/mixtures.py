"""Rows of mixtures of experts whose other layers are those of Llama or of Granite (docs/architectures.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.sources.architecture import Architecture, Rule, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.expert_rules import expert_rules, shared_rules
from rbe_edge.sources.experts import Experts, qwen_expert_layers
from rbe_edge.sources.features import attention_biases
from rbe_edge.sources.layers import full_attention, qwen2_moe_layers
from rbe_edge.sources.llama_like import granite, whole_norms

_LLAMA_NAMES = ("gate_proj", "up_proj", "down_proj")
#: Of Qwen's mixtures and OLMoE, and the shared part of the former; then those of Granite.
MLP_EXPERTS = expert_rules("layers.N.mlp.gate.weight", "layers.N.mlp.experts.E", _LLAMA_NAMES)
GRANITE_EXPERTS = expert_rules(
    "layers.N.block_sparse_moe.router.layer.weight", "layers.N.block_sparse_moe.experts.E", _LLAMA_NAMES
)
MLP_SHARED = shared_rules("layers.N.mlp.shared_expert", _LLAMA_NAMES, "layers.N.mlp.shared_expert_gate.weight")
GRANITE_SHARED = (
    *(
        Rule(f"layers.N.shared.{part}", "layers.N.shared_mlp.input_linear.weight", "shared", "width",
             fused=("shared", "shared"), piece=piece)
        for piece, part in enumerate(("gate", "up"))
    ),
    Rule("layers.N.shared.down", "layers.N.shared_mlp.output_linear.weight", "width", "shared"),
)  # fmt: skip


def _qwen2_moe_features(config: Config) -> frozenset[str]:
    return frozenset({"qkv_bias"} if config.flag("qkv_bias", True) else ())


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
    granite_defaults = {
        **large, "intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000,
        "num_local_experts": 8, "num_experts_per_tok": 2,
    }  # fmt: skip
    return (
        Architecture(
            "qwen2_moe", "Qwen2-MoE", (*rules, *MLP_EXPERTS, *MLP_SHARED), qwen2_moe_layers, _qwen2_moe_features,
            defaults={**large, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
                      "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 32768,
                      "vocab_size": 151936, "sliding_window": 4096, "num_experts": 60, "num_experts_per_tok": 4,
                      "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632},
            experts=Experts(layers=qwen_expert_layers, shared="shared_expert_intermediate_size", share=True),
        ),
        Architecture(
            "olmoe", "OLMoE", (*_whole(rules), *MLP_EXPERTS), full_attention, attention_biases,
            defaults={**large, "rms_norm_eps": 1e-5, "hidden_size": 2048, "intermediate_size": 2048,
                      "num_hidden_layers": 16, "num_attention_heads": 16, "max_position_embeddings": 4096,
                      "vocab_size": 50304, "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": False},
            fixed={"clip_qkv": None}, options=whole_norms, experts=Experts(width="intermediate_size"),
        ),
        Architecture(
            "granitemoe", "Granite 3 MoE", (*rules, *GRANITE_EXPERTS), full_attention, attention_biases,
            defaults=granite_defaults, renamed={"num_local_experts": "num_experts"}, adapt=granite,
            experts=Experts(width="intermediate_size", normalize=True),
        ),
        Architecture(
            "granitemoeshared", "Granite 3 MoE with a shared expert", (*rules, *GRANITE_EXPERTS, *GRANITE_SHARED),
            full_attention, attention_biases, defaults={**granite_defaults, "shared_intermediate_size": 0},
            renamed={"num_local_experts": "num_experts"}, adapt=granite,
            experts=Experts(width="intermediate_size", normalize=True, shared="shared_intermediate_size"),
        ),
    )  # fmt: skip
