"""Features of decoders with Llama's tensors: which of the optional ones a configuration says there are."""

from __future__ import annotations

from rbe_edge.sources.config import Config


def attention_biases(config: Config) -> frozenset[str]:
    return frozenset({"qkv_bias", "o_bias"} if config.flag("attention_bias", False) else ())


def llama_biases(config: Config) -> frozenset[str]:
    return attention_biases(config) | frozenset({"mlp_bias"} if config.flag("mlp_bias", False) else ())


def qk_norm(config: Config) -> frozenset[str]:
    return frozenset({"qk_norm"})


def attention_biases_and_qk_norm(config: Config) -> frozenset[str]:
    return attention_biases(config) | qk_norm(config)
