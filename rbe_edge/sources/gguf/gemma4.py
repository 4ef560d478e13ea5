"""Gemma 4 in GGUF files: keys and tensors as llama.cpp's converter writes them, in Hugging Face's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources.gguf.architectures import EMBEDDING, FEATURES, LM_HEAD, ROPE_FREQUENCIES, Dialect
from rbe_edge.sources.gguf.configuration import Keys, count_layers, refuse_others, share
from rbe_edge.sources.gguf.tensors import GgufTensor
from rbe_edge.sources.messages import shown

NAME = "gemma4"

_STILL = 1e29  # what frequencies are divided by where a pair does not turn


def configuration(
    dialect: Dialect, keys: Keys, tensors: Mapping[str, GgufTensor], rope: Mapping[str, GgufTensor]
) -> dict[str, Any]:
    """As configuration() of configuration.py. Raises PackError for keys that are missing or absurd, and those with
    values that the engine does not compute."""
    where = keys.config.where
    refuse_others(dialect, keys)
    n, vocabulary = count_layers(keys, tensors), tensors[EMBEDDING].shape[0]
    kinds, shared = _kinds(keys, n), keys.optional_integer("attention.shared_kv_layers") or 0
    widths, kv_heads = _per_layer(keys, "feed_forward_length", n), _per_layer(keys, "attention.head_count_kv", n)
    full, local = _length(keys, ""), _length(keys, "_swa")
    own = [kind == "full_attention" for kind in kinds[: max(n - shared, 0)]]
    joined = [layer for layer, is_full in enumerate(own) if is_full and f"blk.{layer}.attn_v.weight" not in tensors]
    if joined and len(joined) != sum(own):
        raise PackError(f"{where}: blk.{joined[0]}.attn_v.weight is missing, and other layers have one; check the file")
    heads = {
        str(layer): {"head_dim": full if kind == "full_attention" else local, "num_key_value_heads": count}
        for layer, (kind, count) in enumerate(zip(kinds, kv_heads, strict=True))
    }
    return {
        "model_type": dialect.row.model_type, "hidden_size": keys.integer("embedding_length"), "num_hidden_layers": n,
        "intermediate_size": widths[0], "use_double_wide_mlp": _is_wide(keys, widths, shared),
        "num_attention_heads": keys.integer("attention.head_count"), "num_key_value_heads": kv_heads[0],
        "head_dim": local, "per_layer_config": heads, "num_kv_shared_layers": shared, "attention_k_eq_v": bool(joined),
        "layer_types": kinds, "sliding_window": keys.optional_integer("attention.sliding_window"),
        "hidden_size_per_layer_input": keys.optional_integer("embedding_length_per_layer_input") or 0,
        "vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary,
        "max_position_embeddings": keys.integer("context_length"), "rms_norm_eps": keys.positive(dialect.epsilon),
        "hidden_act": dialect.activation, "tie_word_embeddings": LM_HEAD not in tensors,
        "final_logit_softcapping": keys.optional_positive("final_logit_softcapping"),
        FEATURES: dialect.features(tensors),
        "rope_parameters": _rope(keys, full, local, rope),
    }  # fmt: skip


def _kinds(keys: Keys, n: int) -> list[str]:
    pattern = keys.get("attention.sliding_window_pattern")
    if not isinstance(pattern, list) or len(pattern) != n:
        raise PackError(
            f"{keys.config.where}: {keys.key('attention.sliding_window_pattern')} is {shown(pattern)}, expected a list "
            f"of {n}; convert the model again"
        )
    return ["sliding_attention" if value else "full_attention" for value in pattern]


def _per_layer(keys: Keys, name: str, n: int) -> list[int]:
    """One whole number for each layer; a number alone is that of all."""
    values = keys.get(name)
    if not isinstance(values, list):
        return [keys.integer(name)] * n
    if len(values) != n:
        raise PackError(f"{keys.config.where}: {keys.key(name)} has {len(values)} layers, the model {n}")
    return [Keys(keys.config.merged(**{keys.key(name): value}), keys.architecture).integer(name) for value in values]


def _is_wide(keys: Keys, widths: list[int], shared: int) -> bool:
    """Whether layers that read others' keys are twice as wide."""
    first = max(len(widths) - shared, 0)
    for wide in (False, True):
        if widths == [widths[0] * (2 if wide and layer >= first else 1) for layer in range(len(widths))]:
            return wide
    raise PackError(f"{keys.config.where}: {keys.key('feed_forward_length')} differs between layers in a way that is "
                    f"not supported")  # fmt: skip


def _length(keys: Keys, ending: str) -> int:
    """Of a head."""
    length = keys.integer(f"attention.key_length{ending}")
    if keys.integer(f"attention.value_length{ending}", length) != length:
        raise PackError(f"{keys.config.where}: keys and values of different size are not supported")
    if keys.integer(f"rope.dimension_count{ending}", length) != length:
        name = keys.key(f"rope.dimension_count{ending}")
        raise PackError(f"{keys.config.where}: {name} is not supported, only {length}")
    return length


def _rope(keys: Keys, full: int, local: int, tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """Of full layers the first pairs turn, which a tensor of divisors says: 1 for these, a huge number for others."""
    where, turning = keys.config.where, full // 2
    if tensors.keys() - {ROPE_FREQUENCIES}:
        raise PackError(f"{where}: {next(iter(tensors.keys() - {ROPE_FREQUENCIES}))} has no place in Gemma 4; check it")
    if keys.get("rope.scaling.type") not in (None, "none") or keys.get("rope.scaling.factor") not in (None, 0, 1):
        raise PackError(f"{where}: rope scaling is not supported for {NAME}")
    if tensors:
        divisors = tensors[ROPE_FREQUENCIES].read() if tensors[ROPE_FREQUENCIES].shape == (full // 2,) else np.zeros(1)
        turning = int((divisors == 1).sum())
        if turning == 0 or not ((divisors[:turning] == 1).all() and (divisors[turning:] >= _STILL).all()):
            raise PackError(f"{where}: {ROPE_FREQUENCIES} is no list of ones and then huge numbers for Gemma 4")
    return {
        "full_attention": {
            "rope_type": "proportional", "partial_rotary_factor": share(2 * turning, full),
            "rope_theta": keys.positive("rope.freq_base", 10000.0),
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": keys.positive("rope.freq_base_swa", 10000.0)},
    }  # fmt: skip
