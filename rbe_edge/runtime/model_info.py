"""What a model says about itself: its numbers, its metadata and its tensors, read from an rbe_model."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rbe_edge import _native
from rbe_edge.format.metadata import MetadataValue

_KINDS = {1: "fp32", 2: "fp16", 3: "bf16", 4: "trellis", 5: "seed64", 6: "basis", 7: "bands", 8: "ternary", 9: "binary"}

TRELLIS_KINDS = ("trellis", "bands")
"""Of tensors whose rows are codes of the trellis."""


@dataclass(frozen=True)
class ModelInfo:
    """The numbers of a model. context: the longest it was made for, in tokens. kernel_set: the code that runs it."""

    path: Path
    file_bytes: int
    parameters: int
    format_version: int
    layers: int
    width: int
    vocabulary: int
    context: int
    kernel_set: str

    @property
    def bits_per_weight(self) -> float:
        """Of the whole file, tokenizer and all, per weight of the source."""
        return self.file_bytes * 8 / self.parameters if self.parameters else 0.0


@dataclass(frozen=True)
class TensorInfo:
    """One tensor. error: squared error relative to the squared norm of the source, as measured by the packer.
    plane_bits: bits per weight of each plane, empty for dense tensors. rotation_block 0: not rotated."""

    name: str
    kind: str
    rows: int
    cols: int
    rotation_block: int
    seed: int
    plane_bits: tuple[int, ...]
    error: float
    data_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return self.data_bytes * 8 / (self.rows * self.cols)


def _raw_info(model: Any) -> _native.ModelInfo:
    raw = _native.ModelInfo(struct_bytes=ctypes.sizeof(_native.ModelInfo))
    _native.check(_native.library().rbe_model_get_info(model, ctypes.byref(raw)))
    return raw


def read_info(model: Any, path: Path) -> ModelInfo:
    """model: an rbe_model, here and below; path: where it was opened."""
    raw = _raw_info(model)
    return ModelInfo(
        path=path,
        file_bytes=raw.file_bytes,
        parameters=raw.n_parameters,
        format_version=raw.format_version,
        layers=raw.n_layers,
        width=raw.width,
        vocabulary=raw.n_vocabulary,
        context=raw.context_tokens,
        kernel_set=raw.kernel_set.decode("ascii"),
    )


def read_metadata(model: Any) -> Mapping[str, MetadataValue]:
    lib = _native.library()
    values = {}
    entry = _native.Metadata()
    for index in range(_raw_info(model).n_metadata):
        _native.check(lib.rbe_model_metadata(model, index, ctypes.byref(entry)))
        values[_text(entry.key, entry.key_bytes)] = _metadata_value(entry)
    return MappingProxyType(values)


def read_tensors(model: Any) -> Mapping[str, TensorInfo]:
    """In the order of the file."""
    lib = _native.library()
    tensors = {}
    entry = _native.TensorInfo(struct_bytes=ctypes.sizeof(_native.TensorInfo))
    for index in range(_raw_info(model).n_tensors):
        _native.check(lib.rbe_model_tensor(model, index, ctypes.byref(entry)))
        tensor = TensorInfo(
            name=_text(entry.name, entry.name_bytes),
            kind=_KINDS[entry.kind],
            rows=entry.rows,
            cols=entry.cols,
            rotation_block=entry.rotation_block,
            seed=entry.seed,
            plane_bits=tuple(entry.plane_bits[: entry.n_planes]),
            error=entry.error,
            data_bytes=entry.data_bytes,
        )
        tensors[tensor.name] = tensor
    return MappingProxyType(tensors)


def _text(data: Any, n_bytes: int) -> str:
    return ctypes.string_at(data, n_bytes).decode("utf-8", "replace")


def _metadata_value(entry: _native.Metadata) -> MetadataValue:
    if entry.type == _native.VALUE_STRING:
        return _text(entry.data, entry.count)
    data = ctypes.string_at(entry.data, 8 * entry.count)
    if entry.type == _native.VALUE_F64:
        return float(struct.unpack("<d", data)[0])
    numbers: tuple[int, ...] = struct.unpack(f"<{entry.count}Q", data)
    return numbers if entry.type == _native.VALUE_U64_ARRAY else numbers[0]
