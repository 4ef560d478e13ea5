"""T5 in GGUF files: from llama.cpp's keys and names to those of Hugging Face, which the rows of encoder_decoders.py
have. llama.cpp computes GELU where there is a gate and ReLU where there is none, and knows distances up to 128."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.gguf.configuration import Keys
from rbe_edge.sources.gguf.tensors import GgufTensor

NAME = "t5"

_BIAS = "0.SelfAttention.relative_attention_bias"
_ENDS = {
    "token_embd": "shared", "output": "lm_head",
    "enc.output_norm": "encoder.final_layer_norm", "dec.output_norm": "decoder.final_layer_norm",
}  # fmt: skip
_ATTENTION = {"attn_norm": "0.layer_norm", "attn_o": "0.SelfAttention.o", "attn_rel_b": _BIAS}
_ATTENTION |= {f"attn_{part}": f"0.SelfAttention.{part}" for part in "qkv"}
_CROSS = {"cross_attn_norm": "1.layer_norm"} | {f"cross_attn_{part}": f"1.EncDecAttention.{part}" for part in "qkvo"}
_IGNORED = "cross_attn_rel_b"  # which nothing reads


def _feed_forward(number: int, gated: bool) -> dict[str, str]:
    at = f"{number}.DenseReluDense"
    found = {"ffn_norm": f"{number}.layer_norm", "ffn_up": f"{at}.{'wi_1' if gated else 'wi'}", "ffn_down": f"{at}.wo"}
    return found | ({"ffn_gate": f"{at}.wi_0"} if gated else {})


def renamed(tensors: Mapping[str, GgufTensor], where: str) -> dict[str, GgufTensor]:
    """The tensors under Hugging Face's names. Raises PackError for one that a T5 has not."""
    gated = "dec.blk.0.ffn_gate.weight" in tensors
    parts = {
        "enc": ("encoder", _ATTENTION | _feed_forward(1, gated)),
        "dec": ("decoder", _ATTENTION | _CROSS | _feed_forward(2, gated)),
    }
    found: dict[str, GgufTensor] = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix(".weight")
        inside = re.fullmatch(r"(enc|dec)\.blk\.(\d+)\.(\w+)", stem)
        theirs = _ENDS.get(stem)
        if inside is not None:
            if inside[3] == _IGNORED:
                continue
            stack, names = parts[inside[1]]
            part = names.get(inside[3])
            theirs = f"{stack}.block.{inside[2]}.layer.{part}" if part is not None else None
        if theirs is None:
            raise PackError(f"{where}: {name} has no place in a T5; check the file")
        found[f"{theirs}.weight"] = tensor
    return found


def configuration(keys: Keys, tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """In Hugging Face's words; tensors: renamed. Raises PackError for keys that are missing or absurd."""
    embedding = tensors.get("shared.weight")
    if embedding is None:
        raise PackError(f"{keys.config.where}: the tensor token_embd.weight is missing; this is a part of a model")
    layers = keys.integer("block_count")
    if layers > len(tensors):
        raise PackError(f"{keys.config.where}: only {len(tensors)} tensors for {layers} layers; download it again")
    heads = keys.integer("attention.head_count")
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": NAME,
        "d_model": keys.integer("embedding_length"), "num_heads": heads, "num_layers": layers,
        "num_decoder_layers": keys.integer("decoder_block_count", layers),
        "d_kv": keys.integer("attention.key_length", max(1, keys.integer("embedding_length") // heads)),
        "d_ff": keys.integer("feed_forward_length"), "vocab_size": embedding.shape[0],
        "n_positions": keys.integer("context_length", 512),
        "layer_norm_epsilon": keys.positive("attention.layer_norm_rms_epsilon", 1e-6),
        "relative_attention_num_buckets": keys.integer("attention.relative_buckets_count", 32),
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu" if any("wi_0" in name for name in tensors) else "relu",
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "decoder_start_token_id": keys.get("decoder_start_token_id") or 0,
    }  # fmt: skip
