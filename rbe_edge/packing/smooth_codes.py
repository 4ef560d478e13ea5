"""Where the two codes for smooth tables are better (docs/smooth_codes.md): the packer's choice for positional tables,
and the comparison with the trellis that `rbe report extremes` prints.

Errors are relative and not squared, |W - W'| / |W|, unless a name says squared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import basis, seed64, trellis
from rbe_edge.format import writer
from rbe_edge.progress import Progress, Report
from rbe_edge.sources.plan import ModelPlan, Stored, TensorPlan

FloatArray = npt.NDArray[np.float32]

# Down the columns blocks are wide, since their columns have nothing in common but the cost of eight levels.
SHAPES = (
    *(basis.Shape(side, side, basis.COSINES) for side in basis.BLOCK_SIDES),
    *(basis.Shape(side, 256, basis.COLUMN_COSINES) for side in basis.BLOCK_SIDES),
)

_MARGIN = 4.0
"""A table is stored in a smooth code where its error is the trellis' divided by this, or less, in no more bytes. Not
merely where it is less: a table is small and every token reads it, and what a cosine code loses is not spread as evenly
as what the trellis does."""

_HOPELESS = 0.9  # a table that a seed describes is nearer than this after a few steps from its strongest plane waves

_SEED = 1  # of the trellis' rotation and of the search for a seed


def same_cut(shape: basis.Shape, rows: int, cols: int) -> basis.Shape:
    """The smallest sides that cut a matrix in the same way."""

    def side(block: int, size: int) -> int:
        return min(block, next((one for one in basis.BLOCK_SIDES if one >= size), block))

    return basis.Shape(side(shape.block_rows, rows), side(shape.block_cols, cols), shape.transform)


def shapes_for(rows: int, cols: int) -> tuple[basis.Shape, ...]:
    """SHAPES, without those that cut the matrix as another does."""
    return tuple(dict.fromkeys(same_cut(shape, rows, cols) for shape in SHAPES))


def _stored_basis(quantised: basis.Quantised) -> Stored:
    encoded = quantised.encode()
    return Stored(writer.KIND_BASIS, encoded.data, encoded.entry, quantised.error)


def for_table(values: FloatArray, planes: tuple[int, ...], threads: int | None = None) -> Stored | None:
    """A positional table, finite float32[rows, cols], in the smooth code that beats the trellis of `planes` at its own
    bytes: a quarter of its error, in as few bytes as that takes. None where neither does, or where the table is too
    small for the trellis. The result does not depend on `threads` (None: all cores)."""
    n_bytes = trellis.encoded_bytes(values.shape[0], values.shape[1], planes)
    if n_bytes is None or not values.any():
        return None
    wanted = float(np.sqrt(trellis.encode(values, planes, _SEED, threads).error)) / _MARGIN
    seed = seed64.fit(values, hopeless=_HOPELESS)
    if seed is not None and seed.error <= wanted:
        return Stored(writer.KIND_SEED64, seed.data, b"", seed.error)
    best: basis.Quantised | None = None
    for shape in shapes_for(*values.shape):
        found = basis.Analysis(values, shape, threads).fit_error(wanted)
        if found is not None and found.n_bytes <= (n_bytes if best is None else best.n_bytes - 1):
            best = found
    return _stored_basis(best) if best is not None else None


def with_tables(plan: ModelPlan, planes: tuple[int, ...], threads: int | None, progress: Progress) -> ModelPlan:
    """The plan, with positional tables encoded where a smooth code beats the trellis of `planes`. progress: is told
    the name before each."""

    def coded(tensor: TensorPlan) -> TensorPlan:
        if tensor.role != "positions":
            return tensor
        progress.tell(tensor.name)
        return dataclasses.replace(tensor, stored=for_table(tensor.read(), planes, threads))

    return dataclasses.replace(plan, tensors=tuple(map(coded, plan.tensors)))


def smooth_matrix(rows: int = 512, cols: int = 256) -> FloatArray:
    """What the report calls smooth: eight plane waves of up to two periods each way, the k-th of amplitude 1 / k."""
    u, v = seed64.coordinates(rows, cols)
    waves = np.random.default_rng(1).uniform([-2, -2, 0], [2, 2, 1], (8, 3))
    total = np.zeros((rows, cols))
    for k, (f, g, phase) in enumerate(waves, 1):
        total += np.sin(2 * np.pi * (f * u + g * v + phase)) / k
    return total.astype(np.float32)


@dataclass(frozen=True)
class Row:
    """One code on one matrix. ratio: bytes of fp32 to its bytes. shannon: 2^-bits, which no code of so many bits beats
    on a Gaussian matrix."""

    matrix: str
    rows: int
    cols: int
    code: str
    bytes: int
    ratio: float
    bits_per_weight: float
    error: float
    shannon: float


# What the older idea proposes: sides of a block, residuals in each, bytes for it.
_CLASSIC = ((128, 5, 80), (64, 16, 167), (32, 20, 205))


def compare(name: str, values: FloatArray, threads: int | None = None, progress: Report | None = None) -> Iterator[Row]:
    """Both codes and the trellis on a matrix, finite float32[rows, cols]: seed64; basis as the older idea has it, and
    in the best of SHAPES in the same bytes; the trellis of 1 to 4 bits, and basis in its bytes. What
    progress(done, total) raises stops the work."""
    yield from _Comparison(name, values, threads, progress).rows()


class _Comparison:
    """What compare() yields, with the bytes that the codes are compared in. classic: of _CLASSIC; plain: of the trellis
    of so many bits, None where the matrix is too small for it."""

    def __init__(self, name: str, values: FloatArray, threads: int | None, progress: Report | None) -> None:
        rows, cols = values.shape
        self._name, self._values, self._threads, self._progress = name, values, threads, progress
        self._classic = [-(-rows // side) * -(-cols // side) * n_bytes for side, _, n_bytes in _CLASSIC]
        self._plain = [(bits, trellis.encoded_bytes(rows, cols, (bits,))) for bits in (1, 2, 3, 4)]
        self._shapes = shapes_for(rows, cols)
        self._total, self._done = len(self._shapes) + 1 + len(self._classic) + len(self._plain), 0
        self._shown: set[int] = set()  # bytes of the rows of basis in the best shape

    def rows(self) -> Iterator[Row]:
        seed = seed64.fit(self._values)
        assert seed is not None
        yield self._row("seed64", len(seed.data), seed.error)
        self._tick()
        by_size, classic = self._fitted()
        for side, most, limited in classic:
            if limited is not None:
                yield self._row(f"basis {side}x{side}, 8 + {most}", limited.n_bytes, limited.error)
        for size in self._classic:
            yield from self._best(size, by_size[size])
            self._tick()
        for bits, of_bits in self._plain:
            if of_bits is not None:
                error = float(np.sqrt(trellis.encode(self._values, (bits,), _SEED, self._threads).error))
                yield self._row(f"trellis K={bits}", of_bits, error)
                yield from self._best(of_bits, by_size[of_bits])
            self._tick()

    def _fitted(self) -> tuple[dict[int, list[basis.Quantised]], list[tuple[int, int, basis.Quantised | None]]]:
        """In every shape: what fits each number of bytes; and sides, residuals and result of the older idea."""
        by_size: dict[int, list[basis.Quantised]] = {size: [] for _, size in self._plain if size is not None}
        by_size |= {size: [] for size in self._classic}
        classic: list[tuple[int, int, basis.Quantised | None]] = []
        for shape in self._shapes:
            analysis = basis.Analysis(self._values, shape, self._threads)
            for (side, most, _), size in zip(_CLASSIC, self._classic, strict=True):
                if shape == same_cut(basis.Shape(side, side, basis.COSINES), *self._values.shape):
                    classic.append((side, most, analysis.fit(size, most)))
            for size, found in by_size.items():
                quantised = analysis.fit(size, tries=5)
                found += [quantised] if quantised is not None else []
            self._tick()
        return by_size, classic

    def _best(self, size: int, found: list[basis.Quantised]) -> Iterator[Row]:
        """The shape whose error is least for its bytes, with the finest step; once."""
        if found:
            chosen = min(found, key=lambda one: one.error * 2.0 ** (8 * one.n_bytes / self._values.size))
            final = basis.Analysis(self._values, chosen.shape, self._threads).fit(size)
            if final is not None and final.n_bytes not in self._shown:
                self._shown.add(final.n_bytes)
                yield self._row(f"basis {final.shape}", final.n_bytes, final.error)

    def _row(self, code: str, n_bytes: int, error: float) -> Row:
        rows, cols = self._values.shape
        bits = n_bytes * 8 / self._values.size
        ratio = 4 * self._values.size / n_bytes
        return Row(self._name, rows, cols, code, n_bytes, ratio, bits, error, 2.0**-bits)

    def _tick(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
