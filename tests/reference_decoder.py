"""Reads a `.rbe` file in numpy, written from docs/format.md (and smooth_codes.md) alone: what all other readers are
compared with.

It follows the text step by step and is slow. `read(path)` checks the checksums and gives the tables; a tensor's
`integers()` are T1 + T2 of its planes, `values()` its weights in the basis of the source, in double precision.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from reference_groups import group_values

FP32, FP16, BF16, TRELLIS, SEED64, BASIS, TERNARY, BINARY = 1, 2, 3, 4, 5, 6, 8, 9
UNIT_ROWS = {1: 32, 2: 16, 3: 32, 4: 8}
# That golden files have, and that must be known.
KNOWN_PARTS = (
    "bands", "encoder", "layer_options", "attention_gate", "layer_kinds", "experts", "shared_expert", "layer_shapes",
    "layer_embeddings", "ternary", "inner_norms",
)  # fmt: skip

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
        length = self.take("I")
        self.position += length
        return self.data[self.position - length : self.position].decode("utf-8")


@dataclass(frozen=True)
class Codebook:
    bits: int
    t1: npt.NDArray[np.int8]
    t2: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Strip:
    first_row: int
    rows: int  # with those that do not exist
    cells: list[tuple[int, int]]  # first group, and the one after the last


def strips(rows: int, cols: int, unit_rows: int) -> list[Strip]:
    """Section 2, "Planes": which rows and column groups the cells have."""
    units = -(-rows // unit_rows)
    n_strips = -(-units * unit_rows // 256)
    groups = -(-cols // 4)
    found = []
    for s in range(n_strips):
        first, end = s * units // n_strips, (s + 1) * units // n_strips
        steps = (end - first) * unit_rows // 4
        per_cell = max(1, (128 + steps) // (2 * steps))  # floor(64 / R + 1/2)
        n_cells = -(-groups // per_cell)
        cells = [(c * groups // n_cells, (c + 1) * groups // n_cells) for c in range(n_cells)]
        found.append(Strip(first * unit_rows, 4 * steps, cells))
    return found


def decode_lanes(lanes: npt.NDArray[np.uint8], book: Codebook) -> Integers:
    """lanes: uint8[lanes][bytes of one circular stream]. T1 + T2 of every step: [lanes][steps]."""
    bits = np.unpackbits(lanes, axis=1).astype(np.int64)  # the most significant first
    n = bits.shape[1]
    step = np.arange(n // book.bits)
    w = np.zeros((len(lanes), len(step)), np.int64)
    for i in range(12):
        w += bits[:, (book.bits * (step + 1) - 1 - i) % n] << i
    t1: Integers = book.t1.astype(np.int64)
    t2: Integers = book.t2.astype(np.int64)
    return t1[(w ^ (w >> 8)) & 15] + t2[(w >> 4) & 15]


def decode_stream(stream: bytes, rows: int, cols: int, unit_rows: int, book: Codebook) -> Integers:
    """The integers of one plane, [rows][cols]."""
    out = np.zeros((rows + 256, -(-cols // 4) * 4), np.int64)  # room for rows that do not exist
    data = np.frombuffer(stream, np.uint8)
    position = 0
    for strip in strips(rows, cols, unit_rows):
        steps = strip.rows // 4
        for first, end in strip.cells:
            n_bytes = (end - first) * steps * book.bits // 8
            cell = data[position : position + 16 * n_bytes].reshape(n_bytes, 16)
            position += 16 * n_bytes
            lanes = decode_lanes(np.ascontiguousarray(cell.T), book)
            for lane in range(16):
                i, j = divmod(lane, 4)
                for g in range(end - first):
                    rows_of_lane = slice(strip.first_row + i, strip.first_row + strip.rows, 4)
                    out[rows_of_lane, 4 * (first + g) + j] = lanes[lane, g * steps : (g + 1) * steps]
    assert position == len(stream), "cells do not fill the plane"
    return out[:rows, :cols]


def splitmix64(seed: int, count: int) -> list[int]:
    mask = 2**64 - 1
    outputs = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    return outputs


def unrotate(weights: Floats, block: int, seed: int) -> Floats:
    """W from W' = W D H: H and D are their own inverses."""
    cols = weights.shape[1]
    hadamard = np.ones((1, 1))
    while len(hadamard) < block:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])  # Sylvester
    blocks: Floats = weights.reshape(-1, cols // block, block) @ (hadamard / np.sqrt(block))
    signs: Floats = np.array([-1.0 if output >> 63 else 1.0 for output in splitmix64(seed, cols)])
    return blocks.reshape(weights.shape) * signs


def seed64_values(data: bytes, rows: int, cols: int) -> Floats:
    """docs/smooth_codes.md, "seed64"."""
    seed, scale = struct.unpack("<Qf", data)

    def bits(first: int, last: int, signed: bool = False) -> int:
        width = last - first + 1
        n = (seed >> first) % 2**width
        return n - 2**width if signed and n >= 2 ** (width - 1) else n

    u = ((np.arange(rows) + 0.5) / rows - 0.5)[:, None]
    v = ((np.arange(cols) + 0.5) / cols - 0.5)[None, :]
    theta = 2 * np.pi * (bits(0, 8) / 512 + bits(9, 18, True) / 32 * u + bits(19, 28, True) / 32 * v)
    c = np.cos(2 * np.pi * (bits(29, 35) / 128 + bits(36, 42, True) / 8 * u + bits(43, 49, True) / 8 * v))
    m, radius = bits(50, 55) / 63, (bits(56, 63) + 0.5) / 256
    r = radius * (1 + m * c) / (1 + m)
    values: Floats = scale * np.tanh(2 * np.arctanh(r)) * np.sin(theta)
    return values


class _Bits:
    """The bits of a stream, taken from the most significant of a byte down."""

    def __init__(self, data: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.position = 0

    def take(self, n: int) -> int:
        self.position += n
        assert self.position <= len(self.text), "a stream ends too early"
        return int(self.text[self.position - n : self.position] or "0", 2)

    def code(self, order: int) -> int:
        zeros = 0
        while self.take(1) == 0:
            zeros += 1
        m = 2**zeros + self.take(zeros)
        return ((m - 1) << order) + self.take(order)


def _legendre(degree: int, x: Floats) -> Floats:
    found: Floats = np.polynomial.legendre.Legendre.basis(degree)(x)
    return found


def _cosines(n: int) -> Floats:
    """d(n, p, i) as [p][i]."""
    p, i = np.arange(n)[:, None], np.arange(n)[None, :]
    found: Floats = np.sqrt(np.where(p > 0, 2, 1) / n) * np.cos(np.pi * p * (2 * i + 1) / (2 * n))
    return found


def basis_values(extra: tuple[int, int, int, tuple[int, ...], float], data: bytes, rows: int, cols: int) -> Floats:
    """docs/smooth_codes.md, "basis"; the streams as in docs/format.md."""
    block_rows, block_cols, transform, orders, step = extra
    n_bands = -(-rows // block_rows)
    ends = [0, *struct.unpack_from(f"<{n_bands}I", data)]
    assert ends[-1] == len(data) - 4 * n_bands
    values = np.zeros((rows, cols))
    for band in range(n_bands):
        top, n = band * block_rows, min(block_rows, rows - band * block_rows)
        bits = _Bits(data[4 * n_bands + ends[band] : 4 * n_bands + ends[band + 1]])
        y = (2 * np.arange(n) + 1) / n - 1
        for left in range(0, cols, block_cols):
            k = min(block_cols, cols - left)
            x = (2 * np.arange(k) + 1) / k - 1
            block = np.zeros((n, k))
            for s, t in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (0, 3)):
                coded = bits.code(orders[0])
                level = (coded + 1) // 2 if coded % 2 else -(coded // 2)
                norm = np.sqrt((2 * s + 1) * (2 * t + 1) / (n * k))
                block += level * norm * np.outer(_legendre(s, y), _legendre(t, x))
            residuals = np.zeros(n * k)
            index = -1
            for _ in range(bits.code(orders[1])):
                index += 1 + bits.code(orders[2])
                size = bits.code(orders[3]) + 1
                residuals[index] = -size if bits.take(1) else size
            across = _cosines(k) if transform == 1 else np.eye(k)
            block += _cosines(n).T @ residuals.reshape(n, k) @ across
            values[top : top + n, left : left + k] = step * block
        assert len(bits.text) - bits.position < 8 and "1" not in bits.text[bits.position :]
    return values


@dataclass(frozen=True)
class Tensor:
    kind: int
    rows: int
    cols: int
    error: float
    data: bytes
    rotation_block: int = 0
    seed: int = 0
    tensor_scale: float = 1.0
    has_block_scales: bool = False
    codebooks: tuple[Codebook, ...] = ()
    basis: tuple[int, int, int, tuple[int, ...], float] | None = None
    group: int = 0

    @cached_property
    def _parts(self) -> tuple[Floats, list[tuple[Floats, Integers]]]:
        """Block scales per column, and per plane the row scales and the integers."""
        position = 0

        def part(n_bytes: int) -> bytes:
            nonlocal position
            found = self.data[position : position + n_bytes]
            position += -(-n_bytes // 64) * 64
            return found

        scales = np.ones(self.cols)
        if self.has_block_scales:
            per_block = np.frombuffer(part(4 * -(-self.cols // 256)), "<f4").astype(np.float64)
            scales = np.repeat(per_block, 256)[: self.cols]
        unit_rows = max(UNIT_ROWS[book.bits] for book in self.codebooks)
        steps_by_groups = sum(
            strip.rows // 4 * (end - first)
            for strip in strips(self.rows, self.cols, unit_rows)
            for first, end in strip.cells
        )
        planes = []
        for book in self.codebooks:
            row_scales = np.frombuffer(part(2 * self.rows), "<f2").astype(np.float64)
            stream = part(2 * steps_by_groups * book.bits)
            planes.append((row_scales, decode_stream(stream, self.rows, self.cols, unit_rows, book)))
        assert position == len(self.data), "the parts do not fill the tensor"
        return scales, planes

    def integers(self) -> list[Integers]:
        """T1 + T2 of every plane, [rows][cols]."""
        return [integers for _, integers in self._parts[1]]

    def values(self) -> Floats:
        """The weights, [rows][cols]."""
        shape = (self.rows, self.cols)
        if self.kind == FP32:
            return np.frombuffer(self.data, "<f4").astype(np.float64).reshape(shape)
        if self.kind == FP16:
            return np.frombuffer(self.data, "<f2").astype(np.float64).reshape(shape)
        if self.kind == BF16:
            bits = np.frombuffer(self.data, "<u2").astype(np.uint32) << 16
            return bits.view(np.float32).astype(np.float64).reshape(shape)
        if self.kind == SEED64:
            return seed64_values(self.data, self.rows, self.cols)
        if self.kind in (TERNARY, BINARY):
            return group_values(self.data, shape, self.group, self.tensor_scale, binary=self.kind == BINARY)
        if self.basis is not None:
            return basis_values(self.basis, self.data, self.rows, self.cols)
        block_scales, planes = self._parts
        total = sum((scales[:, None] * integers for scales, integers in planes), np.zeros(shape))
        weights = self.tensor_scale * block_scales * total
        return unrotate(weights, self.rotation_block, self.seed) if self.rotation_block else weights


@dataclass(frozen=True)
class Pack:
    metadata: dict[str, int | float | str | tuple[int, ...]]
    codebooks: tuple[Codebook, ...]
    blobs: dict[str, bytes]
    tensors: dict[str, Tensor]
    parts: dict[str, bytes]


def _metadata_value(at: _Cursor) -> int | float | str | tuple[int, ...]:
    kind = at.take("I")
    if kind == 1:
        return int(at.take("Q"))
    if kind == 2:
        return float(at.take("d"))
    if kind == 3:
        return at.text()
    assert kind == 4, f"metadata of type {kind}"
    count = at.take("I")
    return tuple(at.take("Q") for _ in range(count))


def _area(data: bytes, offset: int, n_bytes: int, checksum: int) -> bytes:
    area = data[offset : offset + n_bytes]
    assert offset % 64 == 0 and len(area) == n_bytes, "an area lies wrongly"
    assert zlib.crc32(area) == checksum, "checksum of an area"
    return area


def _tensor(at: _Cursor, data: bytes, codebooks: tuple[Codebook, ...]) -> Tensor:
    kind, rows, cols, offset, n_bytes, checksum, error = at.take("IIIQQIf")
    area = _area(data, offset, n_bytes, checksum)
    if kind == BASIS:
        block_rows, block_cols, transform, *orders, step = at.take("III4Bf")
        assert {block_rows, block_cols} <= {32, 64, 128, 256} and transform in (1, 2) and max(orders) <= 16
        basis = (block_rows, block_cols, transform, tuple(orders), step)
        return Tensor(kind, rows, cols, error, area, basis=basis)
    if kind in (TERNARY, BINARY):
        group, tensor_scale = at.take("If")
        return Tensor(kind, rows, cols, error, area, group=group, tensor_scale=tensor_scale)
    if kind != TRELLIS:
        return Tensor(kind, rows, cols, error, area)
    rotation, block, seed, tensor_scale, flags, n_planes = at.take("IIQfII")
    assert rotation in (0, 1) and (rotation == 1) == (block > 0) and flags in (0, 1) and 1 <= n_planes <= 4
    books = tuple(codebooks[at.take("I")] for _ in range(n_planes))
    return Tensor(kind, rows, cols, error, area, block, seed, tensor_scale, flags == 1, books)


def read(path: Path) -> Pack:
    """A whole file."""
    data = path.read_bytes()
    magic, version, checksum, file_bytes, index_bytes = struct.unpack_from("<8sIIQQ", data)
    n_metadata, n_codebooks, n_blobs, n_tensors = struct.unpack_from("<IIII", data, 32)
    assert magic == b"\x89RBE\r\n\x1a\n" and 1 <= version <= 3 and file_bytes == len(data)
    n_parts = struct.unpack_from("<I", data, 48)[0] if version == 3 else 0
    assert data[52 if version == 3 else 48 : 64].count(0) == (12 if version == 3 else 16)
    assert zlib.crc32(data[:12] + bytes(4) + data[16:index_bytes]) == checksum, "checksum of the index"
    at = _Cursor(data, 64)
    metadata = {}
    for _ in range(n_metadata):
        name = at.text()
        metadata[name] = _metadata_value(at)
    codebooks = []
    for _ in range(n_codebooks):
        bits, tables = at.take("I"), np.array(at.take("32b"), np.int8)
        codebooks.append(Codebook(bits, tables[:16], tables[16:]))
    blobs = {}
    for _ in range(n_blobs):
        name = at.text()
        blobs[name] = _area(data, *at.take("QQI"))
    tensors = {}
    for _ in range(n_tensors):
        name = at.text()
        tensors[name] = _tensor(at, data, tuple(codebooks))
        assert tensors[name].kind < SEED64 or version >= 2
    parts = {}
    for _ in range(n_parts):
        name = at.text()
        version, flags, offset, n_bytes, checksum, more_bytes = at.take("IIQQII")
        needed = 0xFFFF0000 if name in KNOWN_PARTS and version == 1 else 0xFFFF0001
        assert flags & needed == 0, "a part that this reader would have to know"
        at.position += more_bytes
        parts[name] = _area(data, offset, n_bytes, checksum)
    assert at.position == index_bytes, "the index does not end where it should"
    return Pack(metadata, tuple(codebooks), blobs, tensors, parts)


def modes(part: bytes) -> dict[str, Any]:
    """Section 6: the table of power modes."""
    n_modes, n_layers, against, reserved = struct.unpack_from("<4I", part)
    assert n_modes == 4 and reserved == 0 and against in (0, 1)
    record_bytes = 192 + -(-2 * n_layers // 8) * 8
    assert len(part) == 128 + 4 * record_bytes
    found = []
    for number in range(4):
        record = part[128 + number * record_bytes :][:record_bytes]
        mode, is_found, embedding, lm_head, n_bytes, n_tokens, *measured = struct.unpack_from("<4I2Q4d", record)
        layers, reason = record[192:], record[64:192].rstrip(b"\0").decode("ascii")
        assert mode == number and is_found == (reason == "") and not any(layers[2 * n_layers :])
        lists = [list(layers[:n_layers]), list(layers[n_layers : 2 * n_layers])]
        found.append([reason, *lists, embedding, lm_head, n_bytes, n_tokens, *measured])
    return {"text": part[16:128].rstrip(b"\0").decode("ascii"), "against": against, "modes": found}
