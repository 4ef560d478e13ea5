"""llama2.c checkpoints (github.com/karpathy/llama2.c, `legacy_export`): seven int32, then fp32 tensors.

They are shown as a Hugging Face Llama, so that one mapping serves both. llama2.c turns neighbouring pairs (2d, 2d + 1)
of a head, the `.rbe` format pairs (d, d + head_dim / 2): the rows of q and k are permuted when they are read.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources.types import FloatArray, Source, SourceTensor

HEADER = struct.Struct("<7i")
NEW_MAGIC = 0x616B3432  # "ak42": the later, versioned exports

# Both are fixed in llama2.c's run.c and train.py.
NORM_EPSILON = 1e-5
ROPE_THETA = 10000.0

# Larger than any real model; keeps the sizes below within 64 bits and a damaged header from being believed.
LIMIT = 1 << 24


def open_checkpoint(path: Path, tokenizer: Path | None = None) -> Source:
    """Opens a legacy llama2.c checkpoint; the tokenizer is `tokenizer`, else found beside it by its name.

    Raises PackError where the header and the size of the file do not agree.
    """
    size = path.stat().st_size
    if size < HEADER.size:
        raise PackError(f"{path}: {size} bytes, too short for a llama2.c checkpoint; download it again")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if int.from_bytes(mapped[:4], "little") == NEW_MAGIC:
        raise PackError(f"{path}: a versioned llama2.c export; export it again with `--version 0` (fp32)")
    width, feed_forward, layers, heads, kv_heads, vocabulary, context = HEADER.unpack(mapped[: HEADER.size])
    tied = vocabulary > 0
    vocabulary = abs(vocabulary)
    for name, value in (
        ("dim", width), ("hidden_dim", feed_forward), ("n_layers", layers), ("n_heads", heads),
        ("n_kv_heads", kv_heads), ("vocab_size", vocabulary), ("seq_len", context),
    ):  # fmt: skip
        if not 0 < value <= LIMIT:
            raise PackError(f"{path}: {name} is {value}, so this is no llama2.c checkpoint; check the file")
    if width % heads or heads % kv_heads or (width // heads) % 2:
        raise PackError(f"{path}: {heads} heads and {kv_heads} key heads do not fit a width of {width}; check the file")

    head_dim = width // heads
    key_width = kv_heads * head_dim
    position = HEADER.size
    tensors: dict[str, SourceTensor] = {}

    def take(shape: tuple[int, ...]) -> FloatArray:
        nonlocal position
        count = math.prod(shape)
        if position + 4 * count > size:
            raise PackError(f"{path}: truncated, {size} bytes are fewer than its header asks for; download it again")
        data: FloatArray = np.frombuffer(mapped, "<f4", count, position).reshape(shape)
        position += 4 * count
        return data

    def add(name: str, data: FloatArray, n_heads: int = 0) -> None:
        shape = data.shape
        if n_heads:
            data = data.reshape(n_heads, head_dim // 2, 2, width).transpose(0, 2, 1, 3)
        tensors[name] = SourceTensor(name, shape, "fp32", data)

    def add_layers(name: str, shape: tuple[int, ...], n_heads: int = 0) -> None:
        data = take((layers, *shape))
        for layer in range(layers):
            add(f"model.layers.{layer}.{name}.weight", data[layer], n_heads)

    add("model.embed_tokens.weight", take((vocabulary, width)))
    add_layers("input_layernorm", (width,))
    add_layers("self_attn.q_proj", (width, width), heads)
    add_layers("self_attn.k_proj", (key_width, width), kv_heads)
    add_layers("self_attn.v_proj", (key_width, width))
    add_layers("self_attn.o_proj", (width, width))
    add_layers("post_attention_layernorm", (width,))
    add_layers("mlp.gate_proj", (feed_forward, width))
    add_layers("mlp.down_proj", (width, feed_forward))
    add_layers("mlp.up_proj", (feed_forward, width))
    add("model.norm.weight", take((width,)))
    take((2, context, head_dim // 2))  # tables of cosines and sines, which follow from ROPE_THETA
    if not tied:
        add("lm_head.weight", take((vocabulary, width)))
    if position != size:
        raise PackError(f"{path}: {size - position} bytes more than its header asks for; check the file")

    config = {
        "model_type": "llama", "hidden_size": width, "intermediate_size": feed_forward, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
        "max_position_embeddings": context, "rms_norm_eps": NORM_EPSILON, "rope_theta": ROPE_THETA,
        "hidden_act": "silu", "tie_word_embeddings": tied,
    }  # fmt: skip
    return Source(path.name, config, tensors, (path,), path.parent, tokenizer or _find_tokenizer(path, vocabulary))


def _find_tokenizer(path: Path, vocabulary: int) -> Path:
    """The tokenizer beside a checkpoint: named after the vocabulary (tok512), llama2.c's default, or the only one."""
    names = [f"tok{vocabulary}.bin", f"tok{vocabulary}.model", "tokenizer.bin", "tokenizer.model"]
    for name in names:
        if (path.parent / name).is_file():
            return path.parent / name
    found = sorted({*path.parent.glob("tok*.bin"), *path.parent.glob("tok*.model")} - {path})
    if len(found) == 1:
        return found[0]
    raise PackError(f"{path}: no tokenizer beside it (looked for {', '.join(names)}); name one with --tokenizer")
