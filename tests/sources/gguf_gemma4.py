"""Gemma 4 as llama.cpp's converter (conversion/gemma.py) writes it: names of tensors, keys and rotary divisors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

WHOLE = {
    "embed_tokens_per_layer": "per_layer_token_embd", "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
}  # fmt: skip
LAYER = {
    "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm",
    "layer_scalar": "layer_output_scale",
}  # fmt: skip


def _head_dim(config: Mapping[str, Any]) -> int:
    """Of layers that see everything."""
    own = config.get("per_layer_config")
    return int(next(iter(own.values()))["head_dim"] if own else config["global_head_dim"])


def metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    n, full, local = config["num_hidden_layers"], _head_dim(config), config["head_dim"]
    sliding = [kind == "sliding_attention" for kind in config["layer_types"]]
    first = n - config["num_kv_shared_layers"]
    rope = config["rope_parameters"]
    found: dict[str, Any] = {
        "context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"],
        "block_count": n, "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.sliding_window": config["sliding_window"],
        "attention.shared_kv_layers": config["num_kv_shared_layers"],
        "embedding_length_per_layer_input": config["hidden_size_per_layer_input"],
        "attention.sliding_window_pattern": sliding, "attention.key_length": full, "attention.value_length": full,
        "attention.key_length_swa": local, "attention.value_length_swa": local, "rope.dimension_count": full,
        "rope.dimension_count_swa": local, "rope.freq_base": float(rope["full_attention"]["rope_theta"]),
        "rope.freq_base_swa": float(rope["sliding_attention"]["rope_theta"]),
    }  # fmt: skip
    if config["use_double_wide_mlp"]:
        inner = config["intermediate_size"]
        found["feed_forward_length"] = [inner if layer < first else 2 * inner for layer in range(n)]
    if config.get("num_global_key_value_heads") is not None:
        heads = config["num_global_key_value_heads"], config["num_key_value_heads"]
        found["attention.head_count_kv"] = [heads[is_sliding] for is_sliding in sliding]
    if config.get("final_logit_softcapping"):
        found["final_logit_softcapping"] = config["final_logit_softcapping"]
    return found


def rope_tensors(config: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    full = _head_dim(config)
    turning = int(full * config["rope_parameters"]["full_attention"]["partial_rotary_factor"] / 2)
    return {"rope_freqs.weight": np.array([1.0] * turning + [1e30] * (full // 2 - turning), np.float32)}
