"""Where the two codes for smooth tables win (docs/smooth_codes.md): the packer's choice for positional tables, and
the comparison with the trellis that `rbe report extremes` prints.

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
"""A table is stored in an extreme code where its error is the trellis' divided by this, or less, in no more bytes. Not
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
    """A positional table, finite float32[rows, cols], in the extreme code that beats the trellis of `planes` at its own
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
    """The plan, with positional tables encoded where an extreme code beats the trellis of `planes`. progress: is told
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
    rows, cols = values.shape
    sizes = [-(-rows // side) * -(-cols // side) * n_bytes for side, _, n_bytes in _CLASSIC]
    plain = [(bits, trellis.encoded_bytes(rows, cols, (bits,))) for bits in (1, 2, 3, 4)]
    shapes = shapes_for(rows, cols)
    total, done = len(shapes) + 1 + len(sizes) + len(plain), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    def row(code: str, n_bytes: int, error: float) -> Row:
        bits = n_bytes * 8 / values.size
        return Row(name, rows, cols, code, n_bytes, 4 * values.size / n_bytes, bits, error, 2.0**-bits)

    seed = seed64.fit(values)
    assert seed is not None
    yield row("seed64", len(seed.data), seed.error)
    tick()
    by_size: dict[int, list[basis.Quantised]] = {size: [] for _, size in plain if size is not None}
    by_size |= {size: [] for size in sizes}
    classic: list[tuple[int, int, basis.Quantised | None]] = []
    for shape in shapes:
        analysis = basis.Analysis(values, shape, threads)
        for (side, most, _), size in zip(_CLASSIC, sizes, strict=True):
            if shape == same_cut(basis.Shape(side, side, basis.COSINES), rows, cols):
                classic.append((side, most, analysis.fit(size, most)))
        for size, found in by_size.items():
            quantised = analysis.fit(size, tries=5)
            found += [quantised] if quantised is not None else []
        tick()
    for side, most, limited in classic:
        if limited is not None:
            yield row(f"basis {side}x{side}, 8 + {most}", limited.n_bytes, limited.error)
    shown: set[int] = set()

    def best(size: int) -> Iterator[Row]:
        """The shape whose error is least for its bytes, with the finest step; once."""
        if by_size[size]:
            chosen = min(by_size[size], key=lambda one: one.error * 2.0 ** (8 * one.n_bytes / values.size))
            final = basis.Analysis(values, chosen.shape, threads).fit(size)
            if final is not None and final.n_bytes not in shown:
                shown.add(final.n_bytes)
                yield row(f"basis {final.shape}", final.n_bytes, final.error)

    for size in sizes:
        yield from best(size)
        tick()
    for bits, of_bits in plain:
        if of_bits is not None:
            error = float(np.sqrt(trellis.encode(values, (bits,), _SEED, threads).error))
            yield row(f"trellis K={bits}", of_bits, error)
            yield from best(of_bits)
        tick()
