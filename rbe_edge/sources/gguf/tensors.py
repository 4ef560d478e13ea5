"""The tensors of a GGUF file, as views into it that become fp32 when read.

F32, F16, BF16, Q1_0 and Q2_0 are read here. Quantised types (Q4_0 to Q8_0, Q2_K to Q6_K, TQ, IQ and others) are
dequantised by the package gguf, block of rows by block of rows, so that memory stays at one tensor in fp32.
"""

from __future__ import annotations

import functools
import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.sources.gguf import binary_type, ternary_type
from rbe_edge.sources.gguf.header import Header, TensorInfo
from rbe_edge.sources.rotary_order import rotary_order
from rbe_edge.sources.types import FloatArray, SourceTensor

Dequantize = Callable[[npt.NDArray[np.uint8]], FloatArray]

# ggml's numbers of its types that numpy can read; the kind of SourceTensor, and numpy's name (bf16: its bits).
PLAIN: Mapping[int, tuple[str, str]] = {0: ("fp32", "<f4"), 1: ("fp16", "<f2"), 30: ("bf16", "<u2")}

_WEIGHTS_AT_ONCE = 1 << 18  # dequantising takes several times their size


@dataclass(frozen=True)
class Quantised:
    """A quantised type: its name, and how many bytes hold how many consecutive weights of a row."""

    name: str
    weights: int
    bytes: int
    dequantize: Dequantize


@dataclass(frozen=True)
class GgufTensor(SourceTensor):
    """`data` has the rows as they are stored: plain numbers, or uint8[rows][bytes of a row] where `quantised`.

    heads: not 0 where the outputs (rows of a matrix, elements of a bias) are ordered for rotary pairs of neighbours,
    (2d, 2d + 1) of each head; they are read in the order of the `.rbe` format, (d, d + head_dim / 2).
    """

    quantised: Quantised | None = None
    heads: int = 0

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        assert axis == 0 and len(self.shape) <= 2, f"{self.name} can be cut along its outputs alone"
        stop = self.shape[0] if stop is None else stop
        if len(self.shape) == 1:
            whole = self._numbers(self.data).reshape(-1)
            return np.array(whole[self._order(start, stop)], np.float32)
        rows, cols = stop - start, self.shape[1]
        values = np.empty((rows, cols), np.float32)
        step = max(_WEIGHTS_AT_ONCE // cols, 1)
        for at in range(0, rows, step):
            order = self._order(start + at, min(start + at + step, stop))
            values[at : at + step] = self._numbers(self.data[order])
        return values

    def _order(self, start: int, stop: int) -> slice | npt.NDArray[np.intp]:
        """Where the outputs from start to stop are stored."""
        if not self.heads:
            return slice(start, stop)
        return rotary_order(self.shape[0], self.heads, start, stop)

    def _numbers(self, rows: npt.NDArray[Any]) -> FloatArray:
        """Stored rows as fp32."""
        if self.quantised is not None:
            with np.errstate(all="ignore"):  # scales of damaged files overflow; the reader checks the result
                return self.quantised.dequantize(np.ascontiguousarray(rows))
        if self.kind == "bf16":
            return (rows.astype(np.uint32) << 16).view(np.float32)
        return rows.astype(np.float32)


def view_tensors(path: Path, header: Header, rotary: Mapping[str, int]) -> dict[str, GgufTensor]:
    """The tensors of one file, which has this header. `rotary`: endings of the names of tensors with rotary pairs of
    neighbours, and how many heads such a tensor has.

    Raises PackError for tensors outside the file and types that are not read, MissingExtra where package gguf is
    needed and absent.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensors: dict[str, GgufTensor] = {}
    ternary_weights = ternary_type.weights_of_blocks(header.tensors.values(), header.alignment)
    for name, info in header.tensors.items():
        kind, stored_as = PLAIN.get(info.type, ("fp32", "u1"))
        quantised = None if info.type in PLAIN else _quantised(path, info, ternary_weights)
        columns = info.shape[-1]
        if quantised is not None:
            if columns % quantised.weights:
                raise PackError(
                    f"{path}: {name} has rows of {columns} weights, which {quantised.name} cannot store; the file is "
                    f"damaged"
                )
            columns = columns // quantised.weights * quantised.bytes
        stored = (*info.shape[:-1], columns)
        count = math.prod(stored)
        if info.offset + count * np.dtype(stored_as).itemsize > len(mapped):
            raise PackError(f"{path}: {name} lies beyond the end of the file; it is truncated, download it again")
        data = np.frombuffer(mapped, stored_as, count, info.offset).reshape(stored)
        heads = next((n for ending, n in rotary.items() if name.endswith(ending)), 0)
        if heads and info.shape[0] % (2 * heads):
            raise PackError(f"{path}: {name} has {info.shape[0]} outputs, which {heads} heads do not share; check it")
        tensors[name] = GgufTensor(name, info.shape, kind, data, quantised, heads)
    return tensors


def _quantised(path: Path, info: TensorInfo, ternary_weights: int | None) -> Quantised:
    """ternary_weights: of a block of Q2_0 in this file."""
    if info.type == ternary_type.NUMBER:
        return _ternary(path, ternary_weights)
    try:
        found = _quantised_type(info.type)
    except ImportError as error:
        raise MissingExtra(
            f"{path}: {info.name} is quantised, and reading that needs the package gguf; install it with "
            f"`pip install 'rbe-edge[gguf]'`"
        ) from error
    if found is None:
        raise PackError(
            f"{path}: {info.name} is stored as type {_type_name(info.type)}, which is not read; convert the model to "
            f"F16, BF16 or Q8_0, or update the package gguf"
        )
    return found


def _ternary(path: Path, size: int | None) -> Quantised:
    if size is None:
        raise PackError(
            f"{path}: its tensors of type Q2_0 have neither blocks of 64 weights nor blocks of 128, or are too small "
            f"to tell; if it is truncated download it again, else convert the model to F16, BF16 or Q8_0"
        )
    dequantize = functools.partial(ternary_type.dequantize, size=size)
    return Quantised("Q2_0", size, ternary_type.bytes_of(size), dequantize)


# What package gguf does not name, and what is not read because files of the same type differ: in I2_S the order of
# weights depends on the machine that the file was made for.
_OTHER_NAMES = {36: "I2_S of bitnet.cpp"}


def _type_name(number: int) -> str:
    import gguf

    if number in _OTHER_NAMES:
        return _OTHER_NAMES[number]

    try:
        return str(gguf.GGMLQuantizationType(number).name)
    except ValueError:
        return str(number)


@functools.cache
def _quantised_type(number: int) -> Quantised | None:
    """A type of ggml that package gguf or this one dequantises; None where neither does. ImportError without the
    package, where it is needed."""
    if number == binary_type.NUMBER:
        return Quantised("Q1_0", binary_type.WEIGHTS, binary_type.BYTES, binary_type.dequantize)
    import gguf

    try:
        kind = gguf.GGMLQuantizationType(number)
        weights, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        dequantize: Dequantize = functools.partial(gguf.quants.dequantize, qtype=kind)
        dequantize(np.zeros((1, n_bytes), np.uint8))
    except (ValueError, KeyError, NotImplementedError):
        return None
    return Quantised(kind.name, weights, n_bytes, dequantize)
