"""Reads the frame of a `.rbe` file as docs/format.md, section 1, describes it, and checks what it says must hold."""

from __future__ import annotations

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

    def tensor_data(self, name: str) -> bytes:
        tensor = self.tensors[name]
        return self.data[tensor.offset : tensor.offset + tensor.n_bytes]


def read_index(path: Path) -> Index:
    data = path.read_bytes()
    magic, version, checksum, file_bytes, index_bytes, *counts = struct.unpack_from("<8sIIQQIIII", data)
    assert (magic, file_bytes) == (b"\x89RBE\r\n\x1a\n", len(data)) and version in (1, 2, 3)
    (n_parts,) = struct.unpack_from("<I", data, 48)
    assert data[52:64] == bytes(12) and (n_parts > 0) == (version == 3)
    assert zlib.crc32(data[:12] + bytes(4) + data[16:index_bytes]) == checksum
    index, areas, position = Index(data), [(0, index_bytes)], 64

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal position
        values = struct.unpack_from("<" + layout, data, position)
        position += struct.calcsize("<" + layout)
        return values

    def text() -> str:
        (n_bytes,) = take("I")
        return bytes(take(f"{n_bytes}s")[0]).decode()

    def area(offset: int, n_bytes: int, expected: int) -> None:
        assert offset % 64 == 0
        assert zlib.crc32(data[offset : offset + n_bytes]) == expected
        areas.append((offset, offset + n_bytes))

    for _ in range(counts[0]):
        name = text()
        (kind,) = take("I")
        assert name not in index.metadata
        if kind == 3:
            index.metadata[name] = text()
        elif kind == 4:
            index.metadata[name] = take(f"{take('I')[0]}Q")
        else:
            index.metadata[name] = take({1: "Q", 2: "d"}[kind])[0]
    for _ in range(counts[1]):
        bits, *tables = take("I32b")
        index.codebooks.append((bits, tuple(tables[:16]), tuple(tables[16:])))
    for _ in range(counts[2]):
        name = text()
        offset, n_bytes, expected = take("QQI")
        assert n_bytes > 0
        area(offset, n_bytes, expected)
        index.blobs[name] = data[offset : offset + n_bytes]
    for _ in range(counts[3]):
        name = text()
        kind, rows, cols, offset, n_bytes, expected, error = take("IIIQQIf")
        assert n_bytes > 0
        area(offset, n_bytes, expected)
        more: dict[str, Any] = {}
        if kind == 4:
            rotation, block, seed, scale, flags, n_planes = take("IIQfII")
            more = {"rotation": rotation, "rotation_block": block, "seed": seed, "tensor_scale": scale, "flags": flags}
            more["codebooks"] = take(f"{n_planes}I")
        if kind == 6:
            more["basis"] = take("III4Bf")
        assert name not in index.tensors
        index.tensors[name] = Tensor(kind, rows, cols, offset, n_bytes, error, **more)
    for _ in range(n_parts):
        name = text()
        part_version, flags, offset, n_bytes, expected = take("IIQQI")
        assert name not in index.parts and re.fullmatch(r"[a-z0-9_.]{1,32}", name) and part_version > 0
        area(offset, n_bytes, expected)
        more_bytes = take("I")[0]
        more = bytes(take(f"{more_bytes}s")[0])
        index.parts[name] = Part(part_version, flags, data[offset : offset + n_bytes], more)
    assert position == index_bytes
    smooth = any(tensor.kind > 4 for tensor in index.tensors.values())
    assert version == (3 if n_parts else 2 if smooth else 1)
    _check_areas(data, areas)
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
