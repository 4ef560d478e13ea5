"""The codes of binary and ternary matrices with group scales (docs/format.md, "Groups"): lossless.

A matrix has such a code where every group of columns of a row holds -s, 0 and s alone (ternary), or -s and s (binary),
with an s of its own. The scales must be numbers of fp16 times one number of the matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

UNIT_ROWS = 64
"""Rows of a matrix are filled up to a multiple of it."""

LEAST_GROUP, MOST_GROUP = 32, 65536
_BLOCK_COLS = 256
_STRIP_UNITS = 4
_TERNARY_COLS, _BINARY_COLS = 5, 8
_DIGITS = np.array([81, 27, 9, 3, 1], np.int32)


@dataclass(frozen=True)
class Code:
    """How a matrix is stored. group: columns that share a scale, a power of two, or 0 for all of a row. tensor_scale:
    multiplies all scales."""

    binary: bool
    group: int
    tensor_scale: float


def encoded_bytes(rows: int, cols: int, code: Code) -> int:
    """Of the data of a matrix."""
    padded = -(-rows // UNIT_ROWS) * UNIT_ROWS
    n_codes = sum(-(-width // _code_cols(code)) for width in _widths(cols, code))
    return padded * (n_codes + 2 * -(-cols // (code.group or cols)))


def find(pieces: Iterable[FloatArray], rows: int, cols: int) -> Code | None:
    """The smallest code of a matrix [rows][cols], given as pieces of its rows, in their order; None where it has none,
    where all is zero, or where 16 bits for each weight take no more. Reads no more pieces than are needed."""
    largest, least = [], []  # of each row and LEAST_GROUP columns: |w|, and 0 where there is a zero
    for piece in pieces:
        size = np.abs(_filled(piece, LEAST_GROUP))
        most = size.max(2)
        zero = size == 0
        if not (zero | (size == most[:, :, None])).all():
            return None
        exists = np.arange(size.shape[1] * LEAST_GROUP).reshape(1, -1, LEAST_GROUP) < cols
        largest.append(most)
        least.append(np.where((zero & exists).any(2), np.float32(0), most))
    sizes, lows = np.concatenate(largest), np.concatenate(least)
    if not sizes.any():
        return None
    group, found = LEAST_GROUP, []
    while True:
        scale = _tensor_scale(sizes)
        if scale is not None:
            whole = 0 if group >= cols else group
            found += [Code(binary, whole, scale) for binary in (True, False) if not binary or (lows == sizes).all()]
        if group >= cols or group > MOST_GROUP:
            break
        wide = group >= MOST_GROUP
        joined = _joined(sizes, lows, sizes.shape[1] if wide else 2)
        if joined is None:
            break
        (sizes, lows), group = joined, cols if wide else 2 * group
    smallest = min(found, key=lambda code: encoded_bytes(rows, cols, code), default=None)
    if smallest is None or encoded_bytes(rows, cols, smallest) >= 2 * rows * cols:
        return None
    return smallest


def encode(values: FloatArray, code: Code) -> bytes:
    """The data of a matrix float32 [rows][cols] that has the code."""
    rows, cols = values.shape
    units = -(-rows // UNIT_ROWS)
    padded = np.zeros((units * UNIT_ROWS, cols), np.float32)
    padded[:rows] = values
    size = np.abs(_filled(padded, code.group or cols)).max(2)
    scales = (size / np.float32(code.tensor_scale)).astype("<f2")
    digits = np.sign(padded).astype(np.int8)
    blocks, first = [], 0
    for width in _widths(cols, code):
        blocks.append(_codes(digits[:, first : first + width], code))
        first += width
    codes = np.concatenate(blocks, 1)
    n_strips = -(-units // _STRIP_UNITS)
    ends = [index * units // n_strips * UNIT_ROWS for index in range(n_strips + 1)]
    strips = [slice(first, end) for first, end in itertools.pairwise(ends)]
    return b"".join(np.ascontiguousarray(part[strip].T).tobytes() for part in (scales, codes) for strip in strips)


def _code_cols(code: Code) -> int:
    return _BINARY_COLS if code.binary else _TERNARY_COLS


def _widths(cols: int, code: Code) -> list[int]:
    """Columns of each block."""
    block = min(code.group or _BLOCK_COLS, _BLOCK_COLS)
    return [min(block, cols - first) for first in range(0, cols, block)]


def _filled(values: FloatArray, group: int) -> FloatArray:
    """[rows][groups][group], with zeros behind the last column."""
    rows, cols = values.shape
    n_groups = -(-cols // group)
    filled = np.zeros((rows, n_groups * group), np.float32)
    filled[:, :cols] = values
    return filled.reshape(rows, n_groups, group)


def _joined(sizes: FloatArray, lows: FloatArray, n: int) -> tuple[FloatArray, FloatArray] | None:
    """The same of n groups together; None where they have different scales."""
    most, low = _filled(sizes, n), _filled(lows, n)
    exists = np.arange(most.shape[1] * n).reshape(1, -1, n) < sizes.shape[1]
    together = most.max(2)
    if not ((most == 0) | (most == together[:, :, None])).all():
        return None
    return together, np.where(exists, low, np.float32(np.inf)).min(2)


def _tensor_scale(sizes: FloatArray) -> float | None:
    """A number of which all scales are exact multiples by a number of fp16."""
    some = sizes[sizes > 0]
    largest = float(some.max())
    for scale in (1.0, float(2.0 ** (np.floor(np.log2(largest)) - 14)), largest):
        if not np.finfo(np.float32).tiny <= scale <= 2.0**100:
            continue
        with np.errstate(over="ignore"):
            half = (some / np.float32(scale)).astype(np.float16)
        if (half.astype(np.float32) * np.float32(scale) == some).all():
            return scale
    return None


def _codes(digits: npt.NDArray[np.int8], code: Code) -> npt.NDArray[np.uint8]:
    """The bytes of one block, [rows][codes]."""
    rows, width = digits.shape
    n = _code_cols(code)
    filled = np.zeros((rows, -(-width // n) * n), np.int8)
    filled[:, :width] = digits
    if code.binary:
        return np.packbits(filled > 0, axis=1, bitorder="little")
    numbers = (filled.reshape(rows, -1, n) + np.int32(1)) @ _DIGITS
    codes: npt.NDArray[np.uint8] = ((numbers * 256 + 242) // 243).astype(np.uint8)
    return codes
