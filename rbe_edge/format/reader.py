"""The parts of a `.rbe` file as they lie in it (docs/format.md, section 1), to be written again with some changed.

The engine checks a file when it opens it, so this reader takes the index at its word: open the file as a Model first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.codes.trellis import plane_layouts
from rbe_edge.format import writer
from rbe_edge.format.bands import PART, matrix_of
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import read_parts

_BLOCK_SCALE_COLS = 256


@dataclass(frozen=True)
class StoredTensor:
    """One tensor: what the index says of it, and where its data begins in the file."""

    entry: writer.TensorEntry
    offset: int
    error: float
    tensor_scale: float = 0.0


@dataclass(frozen=True)
class RbeFile:
    """A whole file but for the data of its tensors."""

    path: Path
    metadata: Mapping[str, MetadataValue]
    codebooks: tuple[writer.CodebookEntry, ...]
    blobs: Mapping[str, bytes]
    tensors: Mapping[str, StoredTensor]
    parts: Mapping[str, Part] = field(default_factory=dict)

    def rows_of(self, name: str) -> tuple[str, slice]:
        """The matrix that a tensor belongs to, and its rows there: all, but of a band."""
        first, matrix = 0, matrix_of(name) if PART.name in self.parts else name
        for other, tensor in self.tensors.items():
            if other == name:
                break
            first += tensor.entry.rows if matrix != name and matrix_of(other) == matrix else 0
        return matrix, slice(first, first + self.tensors[name].entry.rows)

    def data(self, name: str) -> bytearray:
        """The data of a tensor."""
        tensor = self.tensors[name]
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            return bytearray(file.read(tensor.entry.n_bytes))

    def row_scales(self, name: str, data: bytearray) -> list[npt.NDArray[np.float16]]:
        """The row scales of each plane of a trellis tensor: views, through which its data can be changed."""
        entry = self.tensors[name].entry
        planes = tuple(self.codebooks[book].bits for book in entry.codebooks)
        position = 0
        if entry.flags & writer.FLAG_BLOCK_SCALES:
            position = writer.padded(4 * -(-entry.cols // _BLOCK_SCALE_COLS))
        found = []
        for layout in plane_layouts(entry.rows, entry.cols, planes):
            found.append(np.frombuffer(data, "<f2", entry.rows, position))
            position += writer.padded(2 * entry.rows) + writer.padded(layout.stream_bytes)
        assert position == len(data), f"{name}: its parts take {position} bytes of {len(data)}"
        return found


class _Cursor:
    """Takes numbers and names from the index, one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def take(self, layout: str) -> Any:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        n_bytes = self.take("I")
        self.position += n_bytes
        return self.data[self.position - n_bytes : self.position].decode("utf-8", "replace")


def read_file(path: Path) -> RbeFile:
    """Reads a file that the engine has opened, which is how it is known to be whole."""
    with path.open("rb") as file:
        header = file.read(writer.HEADER_BYTES)
        (index_bytes,) = struct.unpack_from("<Q", header, 24)
        n_metadata, n_codebooks, n_blobs, n_tensors = struct.unpack_from("<IIII", header, 32)
        at = _Cursor(header + file.read(index_bytes - len(header)), len(header))
        metadata = {at.text(): _metadata_value(at) for _ in range(n_metadata)}
        codebooks = tuple(_codebook(at) for _ in range(n_codebooks))
        blobs = {}
        for _ in range(n_blobs):
            name = at.text()
            offset, n_bytes, _ = at.take("QQI")
            file.seek(offset)
            blobs[name] = file.read(n_bytes)
        tensors = dict(_tensor(at) for _ in range(n_tensors))
    return RbeFile(path, metadata, codebooks, blobs, tensors, read_parts(path))


def _metadata_value(at: _Cursor) -> MetadataValue:
    kind = at.take("I")
    if kind == writer.STRING:
        return at.text()
    if kind == writer.U64_ARRAY:
        return tuple(at.take("Q") for _ in range(at.take("I")))
    value: int | float = at.take({writer.U64: "Q", writer.F64: "d"}[kind])
    return value


def _codebook(at: _Cursor) -> writer.CodebookEntry:
    bits, tables = at.take("I"), at.take("32b")
    return writer.CodebookEntry(bits, tables[:16], tables[16:])


def _tensor(at: _Cursor) -> tuple[str, StoredTensor]:
    name = at.text()
    kind, rows, cols, offset, n_bytes, _, error = at.take("IIIQQIf")
    if kind != writer.KIND_TRELLIS:
        own = at.take(f"{writer.OWN_BYTES[kind]}s") if kind in writer.OWN_BYTES else b""
        return name, StoredTensor(writer.TensorEntry(name, kind, rows, cols, n_bytes, own=own), offset, error)
    _, block, seed, tensor_scale, flags, n_planes = at.take("IIQfII")
    codebooks = tuple(at.take("I") for _ in range(n_planes))
    entry = writer.TensorEntry(name, kind, rows, cols, n_bytes, seed, block, flags, codebooks)
    return name, StoredTensor(entry, offset, error, tensor_scale)
