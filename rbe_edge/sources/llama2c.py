"""llama2.c checkpoints (github.com/karpathy/llama2.c, `legacy_export`): seven int32, then fp32 tensors.

They are shown as a Hugging Face Llama, so that one mapping serves both. llama2.c turns neighbouring pairs (2d, 2d + 1)
of a head, the `.rbe` format pairs (d, d + head_dim / 2): the rows of q and k are permuted when they are read.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    header = _read_header(path, mapped)
    tensors = _Tensors(path, mapped, size, header)
    return Source(
        path.name,
        header.config(),
        tensors.read(),
        (path,),
        path.parent,
        tokenizer or _find_tokenizer(path, header.vocabulary),
    )


@dataclass(frozen=True)
class _Header:
    """The numbers of a checkpoint. tied: the lm_head is the embedding."""

    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    tied: bool

    def config(self) -> dict[str, Any]:
        """In Hugging Face's words."""
        return {
            "model_type": "llama", "hidden_size": self.width, "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary, "max_position_embeddings": self.context, "rms_norm_eps": NORM_EPSILON,
            "rope_theta": ROPE_THETA, "hidden_act": "silu", "tie_word_embeddings": self.tied,
        }  # fmt: skip


def _read_header(path: Path, mapped: mmap.mmap) -> _Header:
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
    return _Header(width, feed_forward, layers, heads, kv_heads, vocabulary, context, tied)


class _Tensors:
    """Takes the tensors of a mapped checkpoint, one after the other, as views under Hugging Face's names."""

    def __init__(self, path: Path, mapped: mmap.mmap, size: int, header: _Header) -> None:
        self._path, self._mapped, self._size, self._header = path, mapped, size, header
        self._head_dim = header.width // header.heads
        self._position = HEADER.size
        self._found: dict[str, SourceTensor] = {}

    def read(self) -> dict[str, SourceTensor]:
        """All of them. Raises PackError where the file is shorter or longer than that."""
        header, width, feed_forward = self._header, self._header.width, self._header.feed_forward
        key_width = header.kv_heads * self._head_dim
        self._add("model.embed_tokens.weight", self._take((header.vocabulary, width)))
        self._add_layers("input_layernorm", (width,))
        self._add_layers("self_attn.q_proj", (width, width), header.heads)
        self._add_layers("self_attn.k_proj", (key_width, width), header.kv_heads)
        self._add_layers("self_attn.v_proj", (key_width, width))
        self._add_layers("self_attn.o_proj", (width, width))
        self._add_layers("post_attention_layernorm", (width,))
        self._add_layers("mlp.gate_proj", (feed_forward, width))
        self._add_layers("mlp.down_proj", (width, feed_forward))
        self._add_layers("mlp.up_proj", (feed_forward, width))
        self._add("model.norm.weight", self._take((width,)))
        self._take((2, header.context, self._head_dim // 2))  # cosines and sines, which follow from ROPE_THETA
        if not header.tied:
            self._add("lm_head.weight", self._take((header.vocabulary, width)))
        if self._position != self._size:
            more = self._size - self._position
            raise PackError(f"{self._path}: {more} bytes more than its header asks for; check the file")
        return self._found

    def _take(self, shape: tuple[int, ...]) -> FloatArray:
        count = math.prod(shape)
        if self._position + 4 * count > self._size:
            raise PackError(
                f"{self._path}: truncated, {self._size} bytes are fewer than its header asks for; download it again"
            )
        data: FloatArray = np.frombuffer(self._mapped, "<f4", count, self._position).reshape(shape)
        self._position += 4 * count
        return data

    def _add(self, name: str, data: FloatArray, n_heads: int = 0) -> None:
        """n_heads: of q and k, whose rows are permuted; 0 for others."""
        shape = data.shape
        if n_heads:
            data = data.reshape(n_heads, self._head_dim // 2, 2, self._header.width).transpose(0, 2, 1, 3)
        self._found[name] = SourceTensor(name, shape, "fp32", data)

    def _add_layers(self, name: str, shape: tuple[int, ...], n_heads: int = 0) -> None:
        data = self._take((self._header.layers, *shape))
        for layer in range(self._header.layers):
            self._add(f"model.layers.{layer}.{name}.weight", data[layer], n_heads)


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
