"""A GGUF file of a shape, for llama.cpp: every matrix in one of its types, filled with quantised random weights.

A small random matrix goes through ggml's own quantiser and is repeated to the size that is wanted: the blocks are
valid, and their values do not change the time. Extra `compare`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rbe_edge.errors import MissingExtra, OptionError
from rbe_edge.sources.gguf.names import gguf_name

PAIRS = {2: ("Q2_K", "IQ2_XS"), 3: ("Q3_K", "IQ4_XS", "Q4_0"), 4: ("Q4_K", "Q5_K")}
"""ggml types of the same or worse quality than a trellis of K bits (docs/quality.md)."""

_BLOCK = 256
# What llama.cpp's quantiser takes where the columns are no multiple of 256 (src/llama-quant.cpp, tensor_type_fallback).
_FALLBACK = {
    "Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ3_XXS": "IQ4_NL", "IQ4_XS": "IQ4_NL",
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0",
}  # fmt: skip
_SAMPLE_ROWS = 32
_EMBEDDING_TYPE = "Q6_K"  # as llama.cpp's mixtures store a tied one


Quantise = Callable[[np.random.Generator, int, int], np.typing.NDArray[np.uint8]]


class Shape(Protocol):
    """A Llama-layout decoder with a tied embedding; width = heads x head_dim."""

    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def feed_forward(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    def tensors(self) -> Iterator[tuple[str, int, int]]:
        """Name in a `.rbe` file, rows and columns of every tensor, in the file's order; a vector has one row."""
        ...


def _modules() -> tuple[Any, Any]:
    try:
        import gguf
        import llama_cpp
    except ImportError as error:
        raise MissingExtra(
            f"the comparison needs {error.name}; install it with: pip install 'rbe-edge[compare]'"
        ) from None
    return gguf, llama_cpp


def check_type(name: str) -> None:
    """Raises OptionError for what is no ggml type, MissingExtra without the packages."""
    gguf, _ = _modules()
    if name not in gguf.GGMLQuantizationType.__members__:
        raise OptionError(f"llama.cpp has no type {name}; give such as Q4_K, Q4_0 or IQ4_XS")


def write_gguf(
    shape: Shape, context: int, type_name: str, out: Path, seed: int = 1, embedding: str = _EMBEDDING_TYPE
) -> None:
    """A GGUF file of the shape, made for `context` tokens, with matrices in `type_name` and the embedding in its own
    type. Memory: one tensor."""
    gguf, llama_cpp = _modules()
    check_type(type_name)
    quantise = _quantiser(llama_cpp)
    random = np.random.default_rng(seed)
    samples: dict[tuple[int, str], np.typing.NDArray[np.uint8]] = {}
    plan = []
    for name, role, rows, cols in _named(shape):
        kind = "F32" if role == "vector" else embedding if role == "embedding" else type_name
        plan.append((name, rows, cols, _FALLBACK.get(kind, kind) if cols % _BLOCK else kind))
    writer = gguf.GGUFWriter(out, "llama")
    _metadata(writer, shape, context)
    for name, rows, cols, kind in plan:
        raw = gguf.GGMLQuantizationType[kind]
        block, block_bytes = gguf.GGML_QUANT_SIZES[raw]
        size = (cols,) if rows == 1 else (rows, cols // block * block_bytes)
        dtype = np.dtype(np.float32 if kind == "F32" else np.uint8)
        writer.add_tensor_info(name, size, dtype, rows * cols // block * block_bytes, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, rows, cols, kind in plan:
        if kind == "F32":
            writer.write_tensor_data(np.ones(cols, np.float32))
            continue
        if (cols, kind) not in samples:
            samples[cols, kind] = quantise(random, cols, int(gguf.GGMLQuantizationType[kind]))
        sample = samples[cols, kind]
        writer.write_tensor_data(np.resize(sample, (rows, sample.shape[1])))
    writer.close()


def _quantiser(llama_cpp: Any) -> Quantise:
    library = ctypes.CDLL(str(next((Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip

    def quantise(random: np.random.Generator, cols: int, kind: int) -> np.typing.NDArray[np.uint8]:
        """uint8 [_SAMPLE_ROWS][bytes of a row]."""
        values = (random.standard_normal((_SAMPLE_ROWS, cols)) / math.sqrt(cols)).astype(np.float32)
        importance = np.ones(cols, np.float32)  # the i-quants demand one
        space = np.zeros(values.nbytes * 2, np.uint8)
        size = library.ggml_quantize_chunk(
            kind, values.ctypes.data, space.ctypes.data, 0, _SAMPLE_ROWS, cols, importance.ctypes.data
        )
        rows: np.typing.NDArray[np.uint8] = space[:size].reshape(_SAMPLE_ROWS, -1).copy()
        return rows

    return quantise


def _metadata(writer: Any, shape: Shape, context: int) -> None:
    writer.add_context_length(context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")  # it is fed token ids


def _named(shape: Shape) -> Iterator[tuple[str, str, int, int]]:
    """llama.cpp's names: name, role, rows, columns."""
    for name, rows, cols in shape.tensors():
        yield gguf_name(name), "vector" if rows == 1 else "embedding" if name == "embedding" else "matrix", rows, cols
