"""A model in the engine as a GGUF file of fp32 tensors, for llama.cpp to run and to quantise.

The tensors are those of a `.rbe` file, so every source that can be packed can be compared, as far as llama.cpp has its
architecture. llama.cpp's `llama` turns neighbouring pairs (2d, 2d + 1) of a head, the `.rbe` format pairs
(d, d + head_dim / 2): there the rows of q and k are permuted, as llama.cpp's own converter does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.files.new_file import NewFile
from rbe_edge.llama_cpp.vocabulary import write_vocabulary
from rbe_edge.sources.gguf.names import gguf_name

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model
    from rbe_edge.sources.tokenizers import Tokenizer

FloatArray = npt.NDArray[np.float32]

_QKV = ("q", "k", "v")

# Of llama.cpp's gemma3.
_GLOBAL_EVERY = 6
_LOCAL_BASE = 10000.0


@dataclass(frozen=True)
class _Architecture:
    """What llama.cpp computes under a name, as far as it does not follow from the tensors. name: its own.

    neighbours: rotary pairs are neighbours. fused: q, k, v are one matrix. factors: it reads frequencies other than
    those of a base. scaled: embeddings are multiplied by the square root of the width. sliding: all but every sixth
    layer have a window, and rotary positions of base 10000.
    """

    name: str
    neighbours: bool = False
    fused: bool = False
    factors: bool = False
    sliding: bool = False
    scaled: bool = False
    encoder: bool = False
    activation: str = "silu"


_ARCHITECTURES = {
    "llama": _Architecture("llama", neighbours=True, factors=True),
    "mistral": _Architecture("llama", neighbours=True, factors=True),
    "qwen2": _Architecture("qwen2"),
    "qwen3": _Architecture("qwen3"),
    "gpt2": _Architecture("gpt2", fused=True, activation="gelu_tanh"),
    "gemma3_text": _Architecture("gemma3", scaled=True, sliding=True, activation="gelu_tanh"),
    "bert": _Architecture("bert", encoder=True, activation="gelu"),
}

# Numbers of llama.cpp's poolings.
_POOLINGS = {"mean": 1, "cls": 2, "last": 3}


def require_gguf() -> Any:
    """The gguf package. Raises MissingExtra."""
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra(
            "the comparison writes GGUF files, which needs the gguf package; install it with "
            "`pip install 'rbe-edge[compare]'`"
        ) from error
    return gguf


def is_projection(name: str) -> bool:
    """Whether a tensor of a `.rbe` file is a matrix of a layer: q, k, v, o, gate, up or down."""
    return re.fullmatch(r"layers\.\d+\.(attention\.[qkvo]|feed_forward\.(gate|up|down))", name) is not None


def pairs_side_by_side(rows: FloatArray, head_dim: int) -> FloatArray:
    """Rows of q or k from pairs (d, d + head_dim / 2) of a head to neighbours (2d, 2d + 1)."""
    halves = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def pairs_apart(rows: FloatArray, head_dim: int) -> FloatArray:
    """The inverse of pairs_side_by_side."""
    neighbours = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(neighbours.swapaxes(1, 2)).reshape(rows.shape)


def turns_neighbours(model: Model) -> bool:
    """Whether q and k of this model are permuted in its GGUF file."""
    return _architecture(model).neighbours


def write_gguf(model: Model, tokenizer: Tokenizer, out: Path, context: int) -> None:
    """Writes the model in fp32, or replaces a file by it; it will run on contexts of at most `context` tokens.

    Memory: one tensor. Raises PackError for what llama.cpp would compute otherwise, MissingExtra without gguf.
    """
    gguf = require_gguf()
    row = _architecture(model)
    factors = _check(model, row, context)
    tensors = list(_tensors(model, row))
    if factors is not None:
        tensors.append(_Tensor("rope_freqs.weight", factors.shape, lambda: factors))
    with NewFile(out, PackError, replace=True) as file:
        with file.reported():
            writer = gguf.GGUFWriter(file.part, row.name)
            try:
                _write_settings(writer, model, row)
                write_vocabulary(writer, tokenizer)
                _write_tensors(writer, tensors)
            finally:
                writer.close()
        file.commit()


def _write_tensors(writer: Any, tensors: Sequence[_Tensor]) -> None:
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), 4 * int(np.prod(tensor.shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.read())


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    read: Callable[[], FloatArray]


def _architecture(model: Model) -> _Architecture:
    name = str(model.metadata["architecture"])
    if name not in _ARCHITECTURES:
        known = ", ".join(name for name, row in _ARCHITECTURES.items() if not row.encoder)
        raise PackError(f"{name} cannot be written as GGUF yet; the comparison knows {known}")
    return _ARCHITECTURES[name]


def _tensors(model: Model, row: _Architecture) -> Iterator[_Tensor]:
    head_dim = _number(model, "head_dim")
    for name, info in model.tensors.items():
        if name.startswith("rope."):
            continue
        bare = name.removesuffix(".bias")
        vector = info.rows == 1 and name not in ("embedding", "head", "positions", "segments")
        shape: tuple[int, ...] = (info.cols,) if vector else (info.rows, info.cols)
        if row.fused and re.search(r"attention\.[qkv]$", bare):
            if bare.endswith(".q"):
                yield _fused(model, name)
            continue

        def read(name: str = name, bare: str = bare, shape: tuple[int, ...] = shape) -> FloatArray:
            values = model.tensor_rows(name).reshape(shape)
            turned = row.neighbours and bare.endswith(("attention.q", "attention.k"))
            return pairs_side_by_side(values, head_dim) if turned else values

        yield _Tensor(gguf_name(name), shape, read)


def _fused(model: Model, first: str) -> _Tensor:
    """q, k and v below each other; `first` is q, or its bias."""
    names = [first.replace("attention.q", f"attention.{part}") for part in _QKV]
    parts = [model.tensors[name] for name in names]
    bias = first.endswith(".bias")
    shape = (sum(part.cols for part in parts),) if bias else (sum(part.rows for part in parts), parts[0].cols)

    def read() -> FloatArray:
        return np.concatenate([model.tensor_rows(name) for name in names], axis=1 if bias else 0).reshape(shape)

    return _Tensor(gguf_name(first).replace("attn_q", "attn_qkv"), shape, read)


def _number(model: Model, key: str) -> int:
    value = model.metadata[key]
    assert isinstance(value, int)
    return value


def _check(model: Model, row: _Architecture, context: int) -> FloatArray | None:
    """Refuses what llama.cpp computes otherwise. Gives the divisors of rotary frequencies, None where all are 1."""
    known = model.metadata

    def refuse(what: str) -> PackError:
        return PackError(f"llama.cpp's {row.name} has no {what}, so this model cannot be compared with it")

    if row.encoder:
        _check_encoder(model, refuse)
    if known["feed_forward.activation"] != row.activation:
        raise refuse(f"activation {known['feed_forward.activation']}")
    scale, head_dim = known["attention.scale"], _number(model, "head_dim")
    assert isinstance(scale, float)
    if abs(scale * head_dim**0.5 - 1) > 1e-6:
        raise refuse("attention scale of its own")
    embedding_scale = known.get("embedding.scale", 1.0)
    assert isinstance(embedding_scale, float)
    if abs(embedding_scale / (_number(model, "width") ** 0.5 if row.scaled else 1.0) - 1) > 1e-6:
        raise refuse("scaled embedding of this kind")
    if "attention.softcap" in known or "logit.softcap" in known:
        raise refuse("soft cap")
    if row.sliding:
        _local_window(model, row)
        return None
    windows = known.get("attention.windows", ())
    assert isinstance(windows, tuple)
    if any(0 < window < context for window in windows):
        raise refuse(f"sliding window under {context} tokens (--window)")
    if known["position.kind"] != "rope":
        return None
    if "rope.attention_factor" in known or "rope.long_from" in known:
        raise refuse("rotary positions of this kind")
    frequencies = model.tensor_rows("rope.frequencies")
    if frequencies.shape != (1, head_dim // 2):
        raise refuse("partial rotary positions, or several kinds of them")
    factors: FloatArray = (_plain_frequencies(_rope_base(model), head_dim) / frequencies[0]).astype(np.float32)
    if np.abs(factors - 1).max() < 1e-5:
        return None
    if not row.factors:
        raise refuse("rotary frequencies of its own")
    return factors


def _check_encoder(model: Model, refuse: Callable[[str], PackError]) -> None:
    known = model.metadata
    if known.get("head.kind") != "none":
        raise refuse("head of words")
    if known.get("pooling") not in _POOLINGS:
        raise refuse(f"pooling of texts that is {known.get('pooling', 'not named')}")
    if known.get("pooled.layers", 0):
        raise refuse("dense layers behind pooling")


def _local_window(model: Model, row: _Architecture) -> int:
    """The window of local layers. Refuses layers of another order, and rotary positions that are not those of
    llama.cpp: of a base of its own in every sixth layer, of 10000 in the others."""
    known, local = model.metadata, tuple((layer + 1) % _GLOBAL_EVERY != 0 for layer in range(_number(model, "layers")))
    windows, tables = known.get("attention.windows", ()), known.get("rope.tables", ())
    assert isinstance(windows, tuple) and isinstance(tables, tuple)
    window = max(windows, default=0)
    frequencies = model.tensor_rows("rope.frequencies")
    head_dim = _number(model, "head_dim")
    plain = frequencies.shape == (2, head_dim // 2) and all(
        np.allclose(_plain_frequencies(base, head_dim), found, rtol=1e-5, atol=0)
        for base, found in ((_rope_base(model), frequencies[0]), (_LOCAL_BASE, frequencies[1]))
    )
    if windows != tuple(window * one for one in local) or tables != tuple(map(int, local)) or not plain:
        raise PackError(
            f"llama.cpp's {row.name} has no such order of windows, or other rotary positions, so this model cannot be "
            "compared with it"
        )
    return int(window)


def _plain_frequencies(base: float, head_dim: int) -> npt.NDArray[np.float64]:
    frequencies: npt.NDArray[np.float64] = base ** -(np.arange(0, head_dim, 2) / head_dim)
    return frequencies


def _rope_base(model: Model) -> float:
    """The base of the rotary frequencies, or 10000 where they do not follow from one."""
    frequencies = model.tensor_rows("rope.frequencies")[0].astype(np.float64)
    head_dim = 2 * frequencies.size
    base = float(frequencies[-1] ** -(head_dim / (head_dim - 2))) if head_dim > 2 else 10000.0
    if abs(base - round(base)) < 1e-5 * base:
        base = float(round(base))
    plain = frequencies[0] == 1 and np.allclose(_plain_frequencies(base, head_dim), frequencies, rtol=1e-5, atol=0)
    return base if plain else 10000.0


def _write_settings(writer: Any, model: Model, row: _Architecture) -> None:
    known = model.metadata
    writer.add_name(str(known["name"]))
    writer.add_context_length(_number(model, "context"))
    writer.add_embedding_length(_number(model, "width"))
    writer.add_block_count(_number(model, "layers"))
    writer.add_feed_forward_length(_number(model, "feed_forward"))
    writer.add_head_count(_number(model, "heads"))
    writer.add_head_count_kv(_number(model, "kv_heads"))
    writer.add_vocab_size(_number(model, "vocabulary"))
    writer.add_file_type(0)  # all fp32
    epsilon = known["norm.epsilon"]
    (writer.add_layer_norm_rms_eps if known["norm.kind"] == "rms" else writer.add_layer_norm_eps)(epsilon)
    if known["position.kind"] == "rope":
        head_dim = _number(model, "head_dim")
        writer.add_rope_dimension_count(head_dim)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_freq_base(_rope_base(model))
    if row.encoder:
        writer.add_causal_attention(False)
        writer.add_uint32(f"{row.name}.pooling_type", _POOLINGS[str(known["pooling"])])
        writer.add_token_type_count(_number(model, "segments"))
    if row.sliding:
        writer.add_sliding_window(_local_window(model, row))
