"""Reads the frame of a `.rbe` file as docs/format.md, section 1, describes it, and checks what it says must hold."""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis


@dataclass(frozen=True)
class Tensor:
    kind: int
    rows: int
    cols: int
    offset: int
    n_bytes: int
    error: float
    rotation: int = 0
    rotation_block: int = 0
    seed: int = 0
    tensor_scale: float = 0.0
    flags: int = 0
    codebooks: tuple[int, ...] = ()
    basis: tuple[Any, ...] = ()
    group: int = 0


@dataclass(frozen=True)
class Part:
    version: int
    flags: int
    data: bytes
    more: bytes


@dataclass
class Index:
    data: bytes
    metadata: dict[str, Any] = field(default_factory=dict)
    codebooks: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)

    def place(self, name: str) -> tuple[str, int]:
        """The matrix that a tensor belongs to, and its first row there: its own, but for bands."""
        stem = name.split("#")[0]
        bands = itertools.takewhile(lambda other: other != name, self.tensors)
        return stem, sum(self.tensors[other].rows for other in bands if other.split("#")[0] == stem)

    def tensor_data(self, name: str) -> bytes:
        tensor = self.tensors[name]
        return self.data[tensor.offset : tensor.offset + tensor.n_bytes]


class _Cursor:
    """Takes the entries of an index, one after the other, and collects where their data lies."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 64
        self.areas: list[tuple[int, int]] = []

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def bytes_of(self) -> bytes:
        return bytes(self.take(f"{self.take('I')[0]}s")[0])

    def text(self) -> str:
        return self.bytes_of().decode()

    def area(self, offset: int, n_bytes: int, expected: int, least: int = 1) -> bytes:
        data = self.data[offset : offset + n_bytes]
        assert offset % 64 == 0 and len(data) == n_bytes >= least
        assert zlib.crc32(data) == expected
        self.areas.append((offset, offset + n_bytes))
        return data

    def metadata(self) -> tuple[str, Any]:
        name = self.text()
        (kind,) = self.take("I")
        if kind == 3:
            return name, self.text()
        if kind == 4:
            return name, self.take(f"{self.take('I')[0]}Q")
        return name, self.take({1: "Q", 2: "d"}[kind])[0]

    def codebook(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        bits, *tables = self.take("I32b")
        return bits, tuple(tables[:16]), tuple(tables[16:])

    def blob(self) -> tuple[str, bytes]:
        return self.text(), self.area(*self.take("QQI"))

    def tensor(self) -> tuple[str, Tensor]:
        name = self.text()
        kind, rows, cols, offset, n_bytes, expected, error = self.take("IIIQQIf")
        self.area(offset, n_bytes, expected)
        more: dict[str, Any] = {}
        if kind == 4:
            rotation, block, seed, scale, flags, n_planes = self.take("IIQfII")
            more = {"rotation": rotation, "rotation_block": block, "seed": seed, "tensor_scale": scale, "flags": flags}
            more["codebooks"] = self.take(f"{n_planes}I")
        if kind == 6:
            more["basis"] = self.take("III4Bf")
        if kind in (8, 9):
            more["group"], more["tensor_scale"] = self.take("If")
        return name, Tensor(kind, rows, cols, offset, n_bytes, error, **more)

    def part(self) -> tuple[str, Part]:
        name = self.text()
        version, flags, *area = self.take("IIQQI")
        assert re.fullmatch(r"[a-z0-9_.]{1,32}", name) and version > 0
        return name, Part(version, flags, self.area(*area, least=0), self.bytes_of())


def mend_index(data: bytearray) -> None:
    """Makes the checksum of a changed file's index right, so that a reader comes to what was changed."""
    (index_bytes,) = struct.unpack_from("<Q", data, 24)
    struct.pack_into("<I", data, 12, zlib.crc32(data[:12] + bytes(4) + data[16:index_bytes]))


def read_index(path: Path) -> Index:
    data = path.read_bytes()
    magic, version, checksum, file_bytes, index_bytes, *counts = struct.unpack_from("<8sIIQQIIIII", data)
    assert (magic, file_bytes) == (b"\x89RBE\r\n\x1a\n", len(data)) and version in (1, 2, 3)
    assert data[52:64] == bytes(12)
    assert zlib.crc32(data[:12] + bytes(4) + data[16:index_bytes]) == checksum
    at = _Cursor(data)
    metadata = [at.metadata() for _ in range(counts[0])]
    codebooks = [at.codebook() for _ in range(counts[1])]
    blobs = [at.blob() for _ in range(counts[2])]
    tensors = [at.tensor() for _ in range(counts[3])]
    parts = [at.part() for _ in range(counts[4])]
    assert at.position == index_bytes
    index = Index(data, dict(metadata), codebooks, dict(blobs), dict(tensors), dict(parts))
    assert list(map(len, (index.metadata, codebooks, index.blobs, index.tensors, index.parts))) == counts
    smooth = any(tensor.kind > 4 for tensor in index.tensors.values())
    assert version == (3 if parts else 2 if smooth else 1)
    _check_areas(data, [(0, index_bytes), *at.areas])
    return index


def _check_areas(data: bytes, areas: list[tuple[int, int]]) -> None:
    """The areas lie one after another, with zeros between and behind them."""
    areas.sort()
    for (_, end), (start, _) in zip(areas, [*areas[1:], (len(data), len(data))], strict=True):
        assert end <= start, "areas overlap"
        assert data[end:start] == bytes(start - end), "padding is not zero"


def plane_integers(index: Index, name: str) -> list[npt.NDArray[np.int16]]:
    """T1 + T2 of every plane, [rows][cols], by the C decoder: with scales of one they are the weights."""
    tensor = index.tensors[name]
    data = index.tensor_data(name)
    position = -(-4 * -(-tensor.cols // 256) // 64) * 64 if tensor.flags & 1 else 0
    books = [trellis.Codebook(*index.codebooks[book], step=0) for book in tensor.codebooks]
    planes = tuple(book.bits for book in books)
    found = []
    for book, layout in zip(books, trellis.plane_layouts(tensor.rows, tensor.cols, planes), strict=True):
        position += -(-2 * tensor.rows // 64) * 64
        stream = np.frombuffer(data, np.uint8, layout.stream_bytes, position).copy()
        position += -(-layout.stream_bytes // 64) * 64
        ones = np.ones(tensor.rows, np.float16).view(np.uint16)
        values = trellis.decode_plane(stream, ones, tensor.cols, book, layout.unit_rows, 1.0)
        assert (values == np.rint(values)).all()
        found.append(values.astype(np.int16))
    assert position == len(data)
    return found
