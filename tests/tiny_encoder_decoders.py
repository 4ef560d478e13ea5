"""Tiny random encoder-decoders of the T5 family, as Hugging Face directories, made with numpy alone: weights as those
of tiny_models.py.

write(ENCODER_DECODERS["t5"], directory)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import Tensors, uniform, write_safetensors

PAD, END, UNKNOWN = 0, 1, 2
WORDS = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581the", "\u2581a", "ing", "er", "on", "in"]
WORDS += [chr(code) for code in range(ord("a"), ord("z") + 1)] + [".", ",", "'", "?"]
EXTRA = 8
VOCABULARY = len(WORDS) + EXTRA  # rows that the tokenizer does not use, as in the published models
WIDTH, HEADS, HEAD_DIM, FEED_FORWARD = 48, 4, 16, 80


@dataclass(frozen=True)
class TinyEncoderDecoder:
    """decoder_layers: None where there are as many as the encoder has. bytes: its tokens are bytes, as ByT5's."""

    name: str
    config: Mapping[str, Any]
    has_head: bool
    bytes: bool = False
    seed: int = 1


def _t5(name: str, has_head: bool, bytes: bool = False, **changes: Any) -> TinyEncoderDecoder:
    config: dict[str, Any] = {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "d_model": WIDTH, "d_kv": HEAD_DIM,
        "d_ff": FEED_FORWARD, "num_layers": 2, "num_decoder_layers": 2, "num_heads": HEADS,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "layer_norm_epsilon": 1e-6,
        "vocab_size": 384 if bytes else VOCABULARY, "feed_forward_proj": "gated-gelu" if has_head else "relu",
        "tie_word_embeddings": not has_head, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD,
        "is_encoder_decoder": True, **changes,
    }  # fmt: skip
    return TinyEncoderDecoder(name, config, has_head, bytes)


_ALL = (
    _t5("t5", False),  # v1.0: one matrix, a tied head, scaled hidden states
    _t5("t5_v1_1", True),
    _t5("mt5", True, architectures=["MT5ForConditionalGeneration"], model_type="mt5", num_decoder_layers=3),
    _t5("byt5", True, bytes=True, num_layers=3, num_decoder_layers=1),
    _t5("t5_encoder", False, architectures=["T5EncoderModel"]),
)
ENCODER_DECODERS: Mapping[str, TinyEncoderDecoder] = {model.name: model for model in _ALL}


def shapes(model: TinyEncoderDecoder) -> dict[str, tuple[int, ...]]:
    """The tensors that the published model of such a configuration has."""
    config = model.config
    query, buckets = HEADS * HEAD_DIM, config["relative_attention_num_buckets"]
    found: dict[str, tuple[int, ...]] = {"shared.weight": (config["vocab_size"], WIDTH)}

    def attention(at: str, kind: str) -> None:
        for part in "qkv":
            found[f"{at}.{kind}.{part}.weight"] = (query, WIDTH)
        found[f"{at}.{kind}.o.weight"] = (WIDTH, query)
        found[f"{at}.layer_norm.weight"] = (WIDTH,)

    stacks = {"encoder": config["num_layers"], "decoder": config["num_decoder_layers"]}
    if model.config["architectures"] == ["T5EncoderModel"]:
        del stacks["decoder"]
    for stack, layers in stacks.items():
        for layer in range(layers):
            block = f"{stack}.block.{layer}.layer"
            attention(f"{block}.0", "SelfAttention")
            if stack == "decoder":
                attention(f"{block}.1", "EncDecAttention")
            at = f"{block}.{1 if stack == 'encoder' else 2}"
            for part in ("wi_0", "wi_1") if "gated" in config["feed_forward_proj"] else ("wi",):
                found[f"{at}.DenseReluDense.{part}.weight"] = (FEED_FORWARD, WIDTH)
            found[f"{at}.DenseReluDense.wo.weight"] = (WIDTH, FEED_FORWARD)
            found[f"{at}.layer_norm.weight"] = (WIDTH,)
        found[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (buckets, HEADS)
        found[f"{stack}.final_layer_norm.weight"] = (WIDTH,)
    if model.has_head:
        found["lm_head.weight"] = (config["vocab_size"], WIDTH)
    return found


def _values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = uniform(name, seed, math.prod(shape)).reshape(shape)
    if len(shape) == 1:
        values = 0.3 * values + 1
    elif "relative" in name:
        values = 2 * values
    elif name != "shared.weight":
        gain = 0.7 if name.endswith((".q.weight", ".k.weight")) else 1.0  # scores are not scaled by the head's size
        values = gain * math.sqrt(3 / shape[1]) * values
    return values.astype(np.float32)


def tensors(model: TinyEncoderDecoder) -> Tensors:
    """Its weights, fp32."""
    return {name: _values(name, shape, model.seed) for name, shape in shapes(model).items()}


def tokenizer_json() -> dict[str, Any]:
    """A Unigram as T5's, without its normalizer."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    spaces = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": WORDS[i], **flags} for i in range(3)],
        "normalizer": None, "pre_tokenizer": spaces,
        "post_processor": {
            "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [END], "tokens": ["</s>"]}},
        },
        "decoder": spaces,
        "model": {"type": "Unigram", "unk_id": UNKNOWN, "byte_fallback": False,
                  "vocab": [[word, 0.0 if i < 3 else -3.0 if len(word) > 1 else -5.0] for i, word in enumerate(WORDS)]},
    }  # fmt: skip


def write(model: TinyEncoderDecoder, directory: Path, dtype: str = "F32") -> Path:
    """Writes the directory of a model and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(model.config, indent=1))
    settings = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    if model.bytes:
        settings["tokenizer_class"] = "ByT5Tokenizer"
        settings["extra_ids"] = 125  # type: ignore[assignment]
    else:
        settings["tokenizer_class"] = "T5Tokenizer"
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    write_safetensors(directory / "model.safetensors", tensors(model), dtype)
    return directory
