"""Searches better tables for the trellis generator (docs/codec.md, "Tables").

    python tools/table_search.py --bits 4 --restarts 40 --seed 1

Encodes a Gaussian sample with the library's own encoder, solves T1 and T2 for the windows that it chose by least
squares, and repeats. It starts over from quantiles of a Gaussian in another order each time, refines the best start on
a larger sample, tries single steps of its entries there, and compares the result with the table in use on numbers that
neither has seen. The same arguments give the same tables. Needs the C library (an installed package, or RBE_LIBRARY).

Tables of small sums (`--largest-sum 31`) are coarse: there the single steps find most of what is to be gained. What
is far outside of a table's reach loses little in all, but a second plane that codes what is left cannot hold it: so
errors with long tails count more (TAIL).
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError

FloatArray = npt.NDArray[np.float32]
ROWS = 256  # one strip of cells with 64 steps per lane
TENSOR_SCALE = 1 / 64  # brings row scales near 1
RELAXATION = 6.0
REFINEMENT = 8  # times as many columns for the refinement and for the comparison
LARGEST_SUM = 126  # of T1 + T2, under the 127 that the format allows: rounding both tables may add 1
TAIL = 0.02
PAIRED = 0.5  # of the moves change two entries at once


@dataclass(frozen=True)
class Found:
    """A table, the relative squared error that it left on a sample, and that with what its tail costs."""

    book: trellis.Codebook
    error: float
    cost: float


@dataclass(frozen=True)
class Encoding:
    """windows: of every weight. row_scales: of each row. error: relative and squared. cost: error x (1 + TAIL x (the
    kurtosis of the errors - 3))."""

    windows: npt.NDArray[np.int64]
    row_scales: npt.NDArray[np.float64]
    error: float
    cost: float

    def found(self, book: trellis.Codebook) -> Found:
        return Found(replace(book, step=float(self.row_scales.mean())), self.error, self.cost)


def sample(columns: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((ROWS, columns)).astype(np.float32)


def windows(stream: npt.NDArray[np.uint8], bits: int, columns: int) -> npt.NDArray[np.int64]:
    """The window w of every weight, [ROWS][columns], of a plane of ROWS rows (docs/format.md, "Planes")."""
    n_bytes = 8 * bits  # of a lane of 64 steps
    lanes = stream.reshape(columns // 4, n_bytes, 4, 4).transpose(0, 2, 3, 1)  # [cell][i][j][byte]
    lane_bits = np.unpackbits(np.ascontiguousarray(lanes), axis=-1).astype(np.int64)
    step = np.arange(64)
    w = np.zeros((*lanes.shape[:3], 64), np.int64)
    for i in range(12):
        w += lane_bits[..., (bits * (step + 1) - 1 - i) % (64 * bits)] << i
    return w.transpose(3, 1, 0, 2).reshape(ROWS, columns)  # row 4t + i, column 4 cell + j


def encode(weights: FloatArray, book: trellis.Codebook) -> Encoding:
    """A sample of ROWS rows."""
    rows, columns = weights.shape
    layout = trellis.plane_layouts(rows, columns, (book.bits,))[0]
    scales, stream = np.zeros(rows, np.float16), np.zeros(layout.stream_bytes, np.uint8)
    native = _native.Codebook(book.bits, (ctypes.c_int8 * 16)(*book.t1), (ctypes.c_int8 * 16)(*book.t2))
    error = ctypes.c_double()
    status = _native.library().rbe_encode_plane(
        _native.pointer(weights, ctypes.c_float), rows, columns, ctypes.byref(native), 0, TENSOR_SCALE, None,
        _native.pointer(scales.view(np.uint16), ctypes.c_uint16), _native.pointer(stream, ctypes.c_uint8),
        ctypes.byref(error),
    )  # fmt: skip
    _native.check(status, PackError)
    row_scales = scales.astype(np.float64) * TENSOR_SCALE
    w = windows(stream, book.bits, columns)
    values = np.array(book.t1)[(w ^ (w >> 8)) & 15] + np.array(book.t2)[(w >> 4) & 15]
    squares = (weights - row_scales[:, None] * values) ** 2
    kurtosis = float((squares**2).mean() / squares.mean() ** 2)
    relative = error.value / trellis.squared_norm(weights)
    return Encoding(w, row_scales, relative, relative * (1 + TAIL * (kurtosis - 3)))


def solve(
    weights: FloatArray, w: npt.NDArray[np.int64], row_scales: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The tables, [2][16], that fit best where the windows stay as they are."""
    targets = (weights / row_scales[:, None]).ravel()
    first, second = ((w ^ (w >> 8)) & 15).ravel(), ((w >> 4) & 15).ravel()
    pairs = np.bincount(first * 16 + second, minlength=256).reshape(16, 16).astype(np.float64)
    normal = np.block([[np.diag(pairs.sum(axis=1)), pairs], [pairs.T, np.diag(pairs.sum(axis=0))]])
    right = np.concatenate([np.bincount(index, targets, 16) for index in (first, second)])
    # A constant may move from one table to the other: lstsq gives the smallest of the solutions.
    tables: npt.NDArray[np.float64] = np.linalg.lstsq(normal, right, rcond=None)[0].reshape(2, 16)
    return tables


def normalised(tables: npt.NDArray[np.float64], largest_sum: int) -> npt.NDArray[np.float64]:
    """The second table centred, which keeps both inside int8, and the largest sum as given."""
    first, second = tables
    middle = (second.max() + second.min()) / 2
    shifted = np.stack([first + middle, second - middle])
    highest, lowest = shifted.max(axis=1).sum(), shifted.min(axis=1).sum()
    return shifted * (largest_sum / max(highest, -lowest))


def start(random: np.random.Generator, largest_sum: int) -> npt.NDArray[np.float64]:
    """Quantiles of two Gaussians in random order; how the variance is shared between the tables is random too."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)])
    share = random.uniform(0.3, 0.7)
    return normalised(
        np.stack([np.sqrt(1 - share) * random.permutation(quantiles), np.sqrt(share) * random.permutation(quantiles)]),
        largest_sum,
    )


def improve(
    bits: int, tables: npt.NDArray[np.float64], weights: FloatArray, iterations: int, largest_sum: int
) -> Found:
    """The best table met in so many rounds of encoding and solving.

    The encoder takes integers, and a round moves most entries by less than one: the tables stay real numbers between
    rounds, and each move is exaggerated by RELAXATION.
    """
    best: Found | None = None
    for _ in range(iterations):
        integers = clipped(np.rint(tables), largest_sum)
        first, second = (tuple(int(value) for value in table) for table in integers)
        book = trellis.Codebook(bits, first, second, 0.0)
        encoding = encode(weights, book)
        if best is None or encoding.cost < best.cost:
            best = encoding.found(book)
        moved = solve(weights, encoding.windows, encoding.row_scales) - integers
        moved += np.array([[1.0], [-1.0]]) * moved[1].mean()  # the constant that either table may have
        tables = normalised(tables + RELAXATION * moved, largest_sum)
    assert best is not None
    return best


def clipped(integers: npt.NDArray[np.float64], largest_sum: int) -> npt.NDArray[np.float64]:
    """Tables whose sums stay within +-largest_sum: rounding both may have passed it by one."""
    inside = integers.copy()
    while inside.max(axis=1).sum() > largest_sum:
        inside[0, inside[0].argmax()] -= 1
    while inside.min(axis=1).sum() < -largest_sum:
        inside[0, inside[0].argmin()] += 1
    return inside


def step_by_step(found: Found, weights: FloatArray, moves: int, random: np.random.Generator, largest_sum: int) -> Found:
    """The best tables met when entries go up and down by one, alone or in pairs, and stay where the error falls."""
    tables = np.array([found.book.t1, found.book.t2], np.int64)
    bits = found.book.bits
    best = encode(weights, found.book).found(found.book)
    for _ in range(moves):
        tried = tables.copy()
        for entry in random.choice(32, 2 if random.random() < PAIRED else 1, replace=False):
            tried.flat[entry] += random.choice((-1, 1))
        if tried.max(axis=1).sum() > largest_sum or tried.min(axis=1).sum() < -largest_sum:
            continue
        book = trellis.Codebook(bits, tuple(map(int, tried[0])), tuple(map(int, tried[1])), 0.0)
        encoding = encode(weights, book)
        if encoding.cost < best.cost:
            best, tables = encoding.found(book), tried
    return best


def search(
    bits: int, restarts: int, iterations: int, columns: int, seed: int, moves: int, largest_sum: int
) -> Iterator[Found]:
    """Better and better tables: the best so far, each time there is a new one, then that after refinement and after
    single steps."""
    random = np.random.default_rng(seed)
    weights = sample(columns, seed)
    best: Found | None = None
    for _ in range(restarts):
        found = improve(bits, start(random, largest_sum), weights, iterations, largest_sum)
        if best is None or found.cost < best.cost:
            best = found
            yield best
    assert best is not None
    tables = np.array([best.book.t1, best.book.t2], np.float64)
    weights = sample(REFINEMENT * columns, seed + 1)
    refined = improve(bits, tables, weights, iterations, largest_sum)
    yield refined
    if moves:
        yield step_by_step(refined, weights, moves, random, largest_sum)


def _table(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, choices=(1, 2, 3, 4), required=True)
    parser.add_argument("--restarts", type=int, default=40)
    parser.add_argument("--iterations", type=int, default=25, help="rounds of encoding and solving per start")
    parser.add_argument("--columns", type=int, default=64, help=f"of the sample of {ROWS} rows, a multiple of 4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--moves", type=int, default=0, help="single steps that are tried at the end")
    parser.add_argument("--largest-sum", type=int, default=LARGEST_SUM, help="of an entry of each table")
    arguments = parser.parse_args()
    if arguments.columns < 4 or arguments.columns % 4 or arguments.restarts < 1 or arguments.iterations < 1:
        parser.error("--columns must be a multiple of 4, --restarts and --iterations at least 1")
    found = None
    if not 4 <= arguments.largest_sum <= LARGEST_SUM or arguments.moves < 0:
        parser.error(f"--largest-sum must be 4 to {LARGEST_SUM}, --moves at least 0")
    for found in search(
        arguments.bits, arguments.restarts, arguments.iterations, arguments.columns, arguments.seed, arguments.moves,
        arguments.largest_sum,
    ):  # fmt: skip
        print(f"error {found.error:.6f}, with its tail {found.cost:.6f}, on the sample", flush=True)
    assert found is not None
    unseen = sample(REFINEMENT * arguments.columns, arguments.seed + 2)
    for name, book in (("in use", trellis.CODEBOOKS[arguments.bits]), ("found", found.book)):
        print(
            f"{name}: error {encode(unseen, book).error:.6f} on numbers not seen, step {book.step * 126:.3f}/126, sums "
            f"{min(book.t1) + min(book.t2)} to {max(book.t1) + max(book.t2)}"
        )
        print(f"  T1 = {_table(book.t1)}\n  T2 = {_table(book.t2)}")


if __name__ == "__main__":
    main()
