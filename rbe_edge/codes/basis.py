"""The `basis` code: smooth functions and the largest cosine residuals of each block (docs/smooth_codes.md).

A matrix is first analysed (`Analysis`: its transform), once for each shape of block; then quantised with any step. To
find the step for a number of bytes, sizes alone are computed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import golomb, small_systems
from rbe_edge.codes.cosines import Floats, dct, inverse_dct
from rbe_edge.codes.golomb import Integers
from rbe_edge.errors import PackError

BLOCK_SIDES = (32, 64, 128, 256)
COSINES, COLUMN_COSINES = 1, 2
MAX_ORDER = 16
MAX_LEVEL = 1 << 24

_DEGREES = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (0, 3))

# A residual is kept from .6 steps on. On GPT-2's positions relative error x 2^R is least between .6 and .67, 2 to 13 %
# under that of plain rounding.
_KEPT_FROM = 0.6

# Coefficients are fitted again to what the residuals kept do not repair, where those are few: two more times take the
# error of a smooth matrix at 819:1 from .44 to .17 % in blocks of 128, and change nothing where residuals are many.
_FITS = 3
_FEW = 1 / 8

_T = TypeVar("_T")


@dataclass(frozen=True)
class Shape:
    """Rows and columns of a block, 32 to 256 each, and the transform of the residuals."""

    block_rows: int
    block_cols: int
    transform: int

    def __post_init__(self) -> None:
        if self.block_rows not in BLOCK_SIDES or self.block_cols not in BLOCK_SIDES:
            raise PackError(f"blocks of {self.block_rows} x {self.block_cols}: sides are 32, 64, 128 or 256")
        if self.transform not in (COSINES, COLUMN_COSINES):
            raise PackError(f"transform {self.transform} is not 1 (cosines) or 2 (cosines down the columns)")

    def __str__(self) -> str:
        return f"{self.block_rows}x{self.block_cols}" + (" columns" if self.transform == COLUMN_COSINES else "")


@dataclass(frozen=True)
class Encoded:
    """A tensor as its file holds it. orders: of basis levels, counts, gaps and levels."""

    rows: int
    cols: int
    shape: Shape
    step: float
    orders: tuple[int, int, int, int]
    data: bytes

    @property
    def entry(self) -> bytes:
        """What the index says beyond the common fields: docs/format.md, "Tensors"."""
        shape = self.shape
        return struct.pack("<III4Bf", shape.block_rows, shape.block_cols, shape.transform, *self.orders, self.step)


def _legendre(n: int) -> Floats:
    """Normalised Legendre polynomials of degree 0 to 3 on n points: [4][n]."""
    x = (2.0 * np.arange(n) + 1) / n - 1
    return np.stack(
        [np.ones(n), np.sqrt(3.0) * x, np.sqrt(5.0) * (1.5 * x * x - 0.5), np.sqrt(7.0) * (2.5 * x * x - 1.5) * x]
    )


def functions(rows: int, cols: int) -> Floats:
    """The eight basis functions of a block: [8][rows][cols]."""
    down, across = _legendre(rows), _legendre(cols)
    found: Floats = np.stack([np.outer(down[s], across[t]) for s, t in _DEGREES]) / np.sqrt(rows * cols)
    return found


def _transform(block: Floats, shape: Shape) -> Floats:
    down = dct(block, 0)
    return dct(down, 1) if shape.transform == COSINES else down


def _inverse(levels: Floats, shape: Shape) -> Floats:
    down = inverse_dct(levels, 0)
    return inverse_dct(down, 1) if shape.transform == COSINES else down


def _sides(size: int, block: int) -> Iterator[tuple[int, int]]:
    for first in range(0, size, block):
        yield first, min(block, size - first)


def _in_parallel(work: Callable[[int], _T], n: int, threads: int | None) -> list[_T]:
    """work(0) to work(n - 1), in order."""
    workers = min(threads or os.cpu_count() or 1, n)
    if workers == 1:
        return [work(i) for i in range(n)]
    with ThreadPoolExecutor(workers) as executor:
        return list(executor.map(work, range(n)))


@dataclass(frozen=True)
class _Quantised:
    """A row of blocks: levels of basis, and per block the indices and levels of its residuals."""

    basis: Integers  # [blocks][8]
    indices: list[Integers]
    levels: list[Integers]


def _largest(size: Floats, most: int | None) -> Integers:
    """Where the residuals are that are kept, of all in steps: ascending."""
    kept = np.flatnonzero(size >= _KEPT_FROM)
    if most is not None and len(kept) > most:
        kept = np.sort(kept[np.argsort(-size[kept], kind="stable")[:most]])
    return kept


class _Functions:
    """The basis functions of blocks of one size, transformed."""

    def __init__(self, rows: int, cols: int, shape: Shape) -> None:
        self.plain = functions(rows, cols)
        self.transformed = np.stack([_transform(function, shape) for function in self.plain])
        self._flat = self.transformed.reshape(len(self.plain), -1)
        self._gram = np.einsum("fi,gi->fg", self._flat, self._flat)

    def fit(self, products: Floats, block: Floats, kept: Integers) -> Floats:
        """The least-squares coefficients for a transformed block without the places of the residuals kept, which repair
        what is lost there. products: of functions and block."""
        inside = self._flat[:, kept]
        gram = self._gram - np.einsum("fi,gi->fg", inside, inside)
        right = products - np.einsum("fi,i->f", inside, block.reshape(-1)[kept])
        # An edge of one to three rows or columns cannot tell the functions apart.
        return small_systems.solve(gram, right, 1e-9)

    def products(self, block: Floats) -> Floats:
        found: Floats = np.einsum("fi,i->f", self._flat, block.reshape(-1))
        return found

    def residual(self, block: Floats, coefficients: npt.NDArray[np.floating]) -> Floats:
        found: Floats = block - np.einsum("f,fij->ij", coefficients, self.transformed)
        return found


class Analysis:
    """A matrix in one shape of block, ready to be quantised. values: float[rows][cols], finite. Threads: None for all
    cores; results do not depend on it. One thread may use it at a time."""

    def __init__(self, values: npt.NDArray[np.floating], shape: Shape, threads: int | None = None) -> None:
        self.rows, self.cols = values.shape
        self.shape = shape
        self._threads = threads
        self._values = np.asarray(values, np.float64)
        self._norm = float(np.einsum("ij,ij->", self._values, self._values))
        self._bands = list(_sides(self.rows, shape.block_rows))
        self._blocks = list(_sides(self.cols, shape.block_cols))
        sizes = {(n, k) for _, n in self._bands for _, k in self._blocks}
        self._functions = {size: _Functions(*size, shape) for size in sizes}
        self._wanted = _in_parallel(self._analyse, len(self._bands), threads)

    def _analyse(self, band: int) -> list[tuple[Floats, Floats, _Functions]]:
        """Per block: its transform, the products of that with the functions, and those."""
        first, n = self._bands[band]
        found = []
        for left, k in self._blocks:
            block = _transform(self._values[first : first + n, left : left + k], self.shape)
            base = self._functions[n, k]
            found.append((block, base.products(block), base))
        return found

    def _quantise(self, band: int, step: float, most: int | None) -> _Quantised:
        basis, indices, levels = [], [], []
        for block, products, base in self._wanted[band]:
            kept = np.empty(0, np.int64)
            for _ in range(_FITS):
                wanted = base.fit(products, block, kept) / step
                chosen = np.clip(np.rint(wanted), -MAX_LEVEL, MAX_LEVEL).astype(np.int64)
                residual = base.residual(block, chosen * float(step)).reshape(-1) / step
                kept = _largest(np.abs(residual), most)
                if len(kept) > _FEW * residual.size:
                    break
            size = np.abs(residual[kept])
            rounded = np.maximum(np.floor(size + (1 - _KEPT_FROM)), 1)
            basis.append(chosen)
            indices.append(kept)
            levels.append((np.minimum(rounded, MAX_LEVEL) * np.sign(residual[kept])).astype(np.int64))
        return _Quantised(np.stack(basis), indices, levels)

    def quantise(self, step: float, most: int | None = None) -> Quantised:
        """With a step (fp32, > 0), and at most so many residuals per block."""
        step = float(np.float32(step))
        bands = _in_parallel(lambda band: self._quantise(band, step, most), len(self._bands), self._threads)
        return Quantised(self, step, bands)

    def _steps(self) -> tuple[float, float]:
        """log2 of the steps to search: from the norm of the whole matrix in one coefficient, and more, down to where
        levels can hardly be told from the exact numbers. Equal for a matrix of zeros."""
        rms = float(np.sqrt(self._norm / (self.rows * self.cols)))
        if not rms > 0:
            return 0.0, 0.0
        middle = float(np.log2(rms))
        return middle + 0.5 * float(np.log2(self.rows * self.cols)) + 2, middle - 14.0

    def fit(self, n_bytes: int, most: int | None = None, tries: int = 18) -> Quantised | None:
        """The finest step whose data takes at most n_bytes, or one that leaves less than .2 % of them; None where even
        the coarsest takes more."""
        coarse, fine = self._steps()
        best = self.quantise(2.0**coarse, most)
        if best.n_bytes > n_bytes:
            return None
        below, above = float(np.log2(best.n_bytes)), None
        for i in range(tries if coarse > fine else 0):
            # Bytes are about a power of the step: a straight line between logarithms, every third time halving.
            share = 0.5
            if above is not None and i % 3:
                share = min(max((float(np.log2(n_bytes)) - below - 1e-3) / (above - below), 0.05), 0.95)
            middle = coarse + (fine - coarse) * share
            found = self.quantise(2.0**middle, most)
            if found.n_bytes <= n_bytes:
                coarse, best, below = middle, found, float(np.log2(found.n_bytes))
                if found.n_bytes >= 0.998 * n_bytes:
                    break
            else:
                fine, above = middle, float(np.log2(found.n_bytes))
        return best

    def fit_error(self, error: float, tries: int = 12) -> Quantised | None:
        """A step whose relative error (not squared) is at most `error`, and at least 99 % of it where `tries` steps
        find that; None where no step does."""
        coarse, fine = self._steps()
        if coarse > fine:
            # What is rounded to nothing is under .6 steps, so this step is fine enough.
            fine = max(fine, coarse - 2 - 0.5 * float(np.log2(self.rows * self.cols)) + float(np.log2(error)) + 0.7)
        best = self.quantise(2.0**fine)
        if best.error > error:
            return None
        near, far = best.error, 1.0
        for i in range(tries if coarse > fine and near > 0 else 0):
            share = 0.5
            if i % 3:
                slope = float(np.log2(far) - np.log2(near))
                share = min(max(float(np.log2(error * 0.995) - np.log2(near)) / max(slope, 1e-9), 0.05), 0.95)
            middle = fine + (coarse - fine) * share
            found = self.quantise(2.0**middle)
            if found.error <= error:
                fine, best, near = middle, found, max(found.error, 1e-300)
                if found.error >= 0.99 * error:
                    break
            else:
                coarse, far = middle, found.error
        return best


class Quantised:
    """A matrix in integers: what it takes, what is lost, and its bytes."""

    def __init__(self, analysis: Analysis, step: float, bands: list[_Quantised]) -> None:
        self._analysis = analysis
        self.shape = analysis.shape
        self.step = step
        self._bands = bands

    @cached_property
    def _symbols(self) -> tuple[list[Integers], list[Integers], list[Integers], list[Integers]]:
        """Per band, the integers of the four codes: basis levels, counts, gaps, levels less one."""
        basis, counts, gaps, levels = [], [], [], []
        for band in self._bands:
            flat = band.basis.ravel()
            basis.append(np.where(flat > 0, 2 * flat - 1, -2 * flat))
            counts.append(np.array([len(indices) for indices in band.indices], np.int64))
            gaps.append(np.concatenate([np.diff(indices, prepend=-1) - 1 for indices in band.indices]))
            levels.append(np.abs(np.concatenate(band.levels)) - 1)
        return basis, counts, gaps, levels

    @cached_property
    def _orders(self) -> tuple[int, int, int, int]:
        """The orders that make the data shortest; the smallest of those that do."""

        def best(symbols: Sequence[Integers]) -> int:
            values, counts = golomb.histogram(np.concatenate(symbols))
            return int(np.argmin([int(golomb.code_bits(values, order) @ counts) for order in range(MAX_ORDER + 1)]))

        basis, counts, gaps, levels = self._symbols
        return best(basis), best(counts), best(gaps), best(levels)

    @cached_property
    def n_bytes(self) -> int:
        """Of the tensor's data."""
        total = 4 * len(self._bands)
        for band in zip(*self._symbols, strict=True):
            n_bits = sum(int(golomb.code_bits(s, order).sum()) for s, order in zip(band, self._orders, strict=True))
            total += (n_bits + len(band[3]) + 7) // 8
        return total

    @cached_property
    def error(self) -> float:
        """Relative error |W - W'| / |W|; 0 for a matrix of zeros."""
        analysis = self._analysis

        def lost(band: int) -> float:
            total = 0.0
            parts = zip(analysis._wanted[band], *_band_parts(self._bands[band]), strict=True)
            for (block, _, base), basis, indices, levels in parts:
                left = base.residual(block, basis * self.step).reshape(-1)
                left[indices] -= levels * self.step
                total += float(np.einsum("i,i->", left, left))
            return total

        total = sum(_in_parallel(lost, len(self._bands), analysis._threads))
        return float(np.sqrt(total / analysis._norm)) if analysis._norm > 0 else 0.0

    def encode(self) -> Encoded:
        """The bytes of the file."""
        analysis = self._analysis
        symbols = self._symbols

        def stream(band: int) -> bytes:
            return _stream(self._bands[band], [kind[band] for kind in symbols], self._orders)

        streams = _in_parallel(stream, len(self._bands), analysis._threads)
        ends = np.cumsum([len(part) for part in streams])
        if ends[-1] >= 1 << 32:
            raise PackError("a basis tensor of 4 GiB or more is not possible; choose a coarser step")
        data = ends.astype("<u4").tobytes() + b"".join(streams)
        return Encoded(analysis.rows, analysis.cols, analysis.shape, self.step, self._orders, data)

    def decode(self) -> npt.NDArray[np.float32]:
        """The matrix as a reader gets it, float32[rows][cols], within 1e-6 of its largest weight."""
        analysis = self._analysis
        out = np.empty((analysis.rows, analysis.cols), np.float32)
        for (first, n), band in zip(analysis._bands, self._bands, strict=True):
            for (left, k), basis, indices, levels in zip(analysis._blocks, *_band_parts(band), strict=True):
                spread = np.zeros(n * k)
                spread[indices] = levels
                block = _inverse(spread.reshape(n, k), analysis.shape)
                block += np.einsum("f,fij->ij", basis.astype(np.float64), analysis._functions[n, k].plain)
                out[first : first + n, left : left + k] = self.step * block
        return out


def _band_parts(band: _Quantised) -> tuple[Integers, list[Integers], list[Integers]]:
    return band.basis, band.indices, band.levels


def _stream(band: _Quantised, symbols: Sequence[Integers], orders: Sequence[int]) -> bytes:
    """The bits of a row of blocks, in the order of the format."""
    basis, counts, gaps, levels = symbols
    n_blocks = len(counts)
    # Where each symbol stands: per block eight levels and a count, then three for each residual.
    heads = np.concatenate([[0], np.cumsum(9 + 3 * counts)])
    codes, lengths = np.zeros(heads[-1], np.int64), np.zeros(heads[-1], np.int64)

    def put(places: Integers, values: Integers, order: int) -> None:
        codes[places], lengths[places] = golomb.codes(values, order), golomb.code_bits(values, order)

    put((heads[:-1, None] + np.arange(8)).ravel(), basis, orders[0])
    put(heads[:-1] + 8, counts, orders[1])
    within = np.arange(len(gaps)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.repeat(heads[:-1] + 9, counts) + 3 * within
    put(first, gaps, orders[2])
    put(first + 1, levels, orders[3])
    assert n_blocks == len(band.levels)
    codes[first + 2], lengths[first + 2] = np.concatenate(band.levels) < 0, 1
    return golomb.packed(codes, lengths)
