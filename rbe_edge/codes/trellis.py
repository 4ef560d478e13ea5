"""The trellis codec from Python: weights in, the data of a tensor as it stands in the file out (docs/codec.md).

The work is done by the encoder of the C library; here are the tables, the choice of scales and the sum of planes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.errors import PackError
from rbe_edge.progress import Report

FloatArray = npt.NDArray[np.float32]

MIN_LANE_STEPS = 32
"""Tensors with shorter lanes are stored dense: docs/format.md, "Planes"."""

MAX_ROTATION_BLOCK = 65536

NESTED_DAMPING = 0.2
"""Of planes that others add to, where they are to be read alone too (docs/codec.md, "Nested planes")."""


@dataclass(frozen=True)
class Codebook:
    """The tables of a generator with `bits` bits per weight. step: for a unit Gaussian, weight = step x (T1 + T2)."""

    bits: int
    t1: tuple[int, ...]
    t2: tuple[int, ...]
    step: float


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


# Found by search: docs/codec.md, "Tables"; `python tools/table_search.py` looks for better ones. The sums of those for
# 2 to 4 bits stay within +-31.
CODEBOOKS: dict[int, Codebook] = {
    1: Codebook(
        1,
        _numbers("5 -72 -26 42 -23 72 40 -34 -47 60 25 -66 44 3 -38 17"),
        _numbers("28 -13 43 -21 -12 -5 5 27 -54 -14 34 6 -9 54 -37 -32"),
        2.127 / 126,
    ),
    2: Codebook(
        2,
        _numbers("2 -5 -15 10 -7 16 7 0 8 0 -5 -18 18 7 1 -7"),
        _numbers("-1 6 -8 -3 3 -4 0 -7 -13 -4 -4 2 13 0 6 2"),
        11.200 / 126,
    ),
    3: Codebook(
        3,
        _numbers("-13 18 7 -4 -7 3 0 -19 -10 9 3 0 -3 -7 13 6"),
        _numbers("3 5 7 1 1 12 -6 -1 5 -12 0 -4 -2 3 -3 -6"),
        12.503 / 126,
    ),
    4: Codebook(
        4,
        _numbers("-1 -10 -6 7 -19 19 2 -8 -3 0 -4 9 5 -13 12 3"),
        _numbers("3 3 -4 0 -2 6 2 4 0 -8 8 1 12 -5 -12 -1"),
        13.592 / 126,
    ),
}


def rotation_block(cols: int) -> int:
    """The block of the rotation: the largest power of two that divides cols."""
    return min(cols & -cols, MAX_ROTATION_BLOCK)


@cache
def plane_layouts(rows: int, cols: int, planes: tuple[int, ...]) -> tuple[_native.PlaneLayout, ...]:
    """One per plane. The unit height of a tensor is the largest among its planes."""
    lib = _native.library()

    def layout(bits: int, unit_rows: int) -> _native.PlaneLayout:
        out = _native.PlaneLayout()
        _native.check(lib.rbe_plane_get_layout(rows, cols, bits, unit_rows, ctypes.byref(out)), PackError)
        return out

    unit_rows = max(layout(bits, 0).unit_rows for bits in planes)
    return tuple(layout(bits, unit_rows) for bits in planes)


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // 64) * 64


def encoded_bytes(rows: int, cols: int, planes: tuple[int, ...]) -> int | None:
    """Bytes of the tensor's data in the file, padding included; None where its lanes would be under MIN_LANE_STEPS."""
    layouts = plane_layouts(rows, cols, planes)
    if min(layout.min_steps for layout in layouts) < MIN_LANE_STEPS:
        return None
    return sum(_padded(2 * rows) + _padded(layout.stream_bytes) for layout in layouts)


@dataclass(frozen=True)
class Encoded:
    """A tensor as its file holds it. data: its parts in order, padded (docs/format.md, section 2). error: squared error
    relative to the squared norm of the weights. decoded: float32[rows, cols] as the file gives it back, where feedback
    was used."""

    data: tuple[bytes, ...]
    tensor_scale: float
    error: float
    decoded: FloatArray | None = None


def squared_norm(values: FloatArray) -> float:
    """Summed in double precision, always in the same order (BLAS would split it over threads)."""
    flat = values.ravel()
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64))


def rotate(weights: FloatArray, block: int, seed: int, *, inverse: bool = False) -> None:
    """In place on [rows, cols]: W <- W D H, or its inverse (docs/format.md, "Rotation")."""
    rows, cols = weights.shape
    data = _native.pointer(weights, ctypes.c_float)
    _native.check(_native.library().rbe_rotate_rows(data, rows, cols, block, seed, int(inverse)), PackError)


def tensor_scale(weights: FloatArray) -> float:
    """A scale that brings row scales near 1, well inside the range of fp16: the rms of the largest row x the step of
    K = 2. A power of two, so that it costs no precision."""
    largest = float(np.sqrt(np.einsum("ij,ij->i", weights, weights, dtype=np.float64).max() / weights.shape[1]))
    if not np.isfinite(largest):
        raise PackError("the weights hold a value that is not finite")
    return float(2.0 ** np.floor(np.log2(largest * CODEBOOKS[2].step))) if largest > 0 else 1.0


def native_codebook(book: Codebook) -> _native.Codebook:
    return _native.Codebook(book.bits, (ctypes.c_int8 * 16)(*book.t1), (ctypes.c_int8 * 16)(*book.t2))


def encode(
    weights: FloatArray,
    planes: tuple[int, ...],
    seed: int,
    threads: int | None = None,
    progress: Report | None = None,
    feedback: FloatArray | None = None,
    nested: bool = False,
    quick: bool = False,
) -> Encoded:
    """Rotates and encodes float32[rows, cols] as a sum of planes, each coding what the ones before it leave.

    planes: bits of each, 1 to 4. threads: None for all cores; the bytes do not depend on it. progress: counts all
    planes together. feedback: the factor of calibration.feedback_factor. nested: the first planes are good to read
    without the others, for which the sum pays (docs/codec.md, "Nested planes"). quick: half of the search, for 1 to
    5 % more error. Raises PackError for weights that are not finite or lanes that are too short.
    """
    rows, cols = weights.shape
    if encoded_bytes(rows, cols, planes) is None:
        raise PackError(f"a matrix of {rows} x {cols} is too small for the trellis; store it dense")
    left = np.array(weights, dtype=np.float32, order="C")
    norm = squared_norm(left)
    rotate(left, rotation_block(cols), seed)
    scale = tensor_scale(left)
    early = damped(feedback, cols, threads) if feedback is not None and nested and len(planes) > 1 else None
    parts: list[bytes] = []
    for index, (bits, layout) in enumerate(zip(planes, plane_layouts(rows, cols, planes), strict=True)):
        factor = feedback if index == len(planes) - 1 else early
        options = _native.EncodeOptions(n_threads=threads or 0, residual=int(index > 0), quick=int(quick))
        report = _native.ReportCarrier(_share(progress, index, len(planes)))
        row_scales, stream = _encode_plane(left, bits, layout, scale, options, report, factor)
        parts += [_fill(row_scales.tobytes()), _fill(stream.tobytes())]
        left -= decode_plane(stream, row_scales, cols, CODEBOOKS[bits], layout.unit_rows, scale)
    error = squared_norm(left) / norm if norm > 0 else 0.0
    if feedback is None:
        return Encoded(tuple(parts), scale, error)
    rotate(left, rotation_block(cols), seed, inverse=True)
    return Encoded(tuple(parts), scale, error, weights - left)


def decode(data: bytes, planes: tuple[int, ...], rows: int, cols: int, seed: int, scale: float) -> FloatArray:
    """The weights of a tensor as the file gives them back, float32[rows, cols], from its data (all parts, padded)."""
    weights = np.zeros((rows, cols), np.float32)
    at = 0
    for bits, layout in zip(planes, plane_layouts(rows, cols, planes), strict=True):
        row_scales = np.frombuffer(data, np.uint16, rows, at).copy()
        at += _padded(2 * rows)
        stream = np.frombuffer(data, np.uint8, layout.stream_bytes, at).copy()
        at += _padded(layout.stream_bytes)
        weights += decode_plane(stream, row_scales, cols, CODEBOOKS[bits], layout.unit_rows, scale)
    rotate(weights, rotation_block(cols), seed, inverse=True)
    return weights


def damped(feedback: FloatArray, cols: int, threads: int | None = None, damping: float = NESTED_DAMPING) -> FloatArray:
    """The factor for H + damping x its mean diagonal, from that for H: a plane that other planes add to."""
    u = np.ascontiguousarray(feedback[:cols, :cols])
    v = _gram(u, threads)  # inverse(H) = U^T U
    inverse_factor(v, threads)  # H = V^T V
    h = _gram(v, threads)
    h[np.diag_indices(cols)] += np.float32(damping * float(np.trace(h, dtype=np.float64)) / cols)
    inverse_factor(h, threads)
    factor = np.eye(len(feedback), dtype=np.float32)
    factor[:cols, :cols] = h
    return factor


def inverse_factor(h: FloatArray, threads: int | None = None) -> None:
    """In place on a symmetric positive definite float32 [n][n], of which the lower triangle is read: U, upper
    triangular, of inverse(H) = U^T U. Raises PackError where H is not positive definite."""
    factor = _native.library().rbe_inverse_factor
    _native.check(factor(_native.pointer(h, ctypes.c_float), len(h), threads or 0), PackError)


def _gram(x: FloatArray, threads: int | None) -> FloatArray:
    """x^T x: the lower triangle."""
    out = np.zeros((x.shape[1], x.shape[1]), np.float32)
    add, sums = _native.library().rbe_moment_add, _native.pointer(out, ctypes.c_float)
    _native.check(add(_native.pointer(x, ctypes.c_float), *x.shape, threads or 0, sums), PackError)
    return out


def _fill(part: bytes) -> bytes:
    return part.ljust(_padded(len(part)), b"\0")


def _share(progress: Report | None, index: int, count: int) -> Report | None:
    """Of one plane of several."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)


def _encode_plane(
    weights: FloatArray,
    bits: int,
    layout: _native.PlaneLayout,
    scale: float,
    options: _native.EncodeOptions,
    report: _native.ReportCarrier,
    feedback: FloatArray | None,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    rows, cols = weights.shape
    row_scales = np.zeros(rows, np.uint16)
    stream = np.zeros(layout.stream_bytes, np.uint8)
    error = ctypes.c_double()
    options.struct_bytes = ctypes.sizeof(_native.EncodeOptions)
    options.progress = report.callback
    if feedback is not None:
        options.feedback = _native.pointer(feedback, ctypes.c_float)
    status = _native.call(
        _native.library().rbe_encode_plane,
        _native.pointer(weights, ctypes.c_float),
        rows,
        cols,
        ctypes.byref(native_codebook(CODEBOOKS[bits])),
        layout.unit_rows,
        scale,
        ctypes.byref(options),
        _native.pointer(row_scales, ctypes.c_uint16),
        _native.pointer(stream, ctypes.c_uint8),
        ctypes.byref(error),
    )
    report.check(status, PackError)
    return row_scales, stream


def decode_plane(
    stream: npt.NDArray[np.uint8],
    row_scales: npt.NDArray[np.uint16],
    cols: int,
    book: Codebook,
    unit_rows: int,
    scale: float,
) -> FloatArray:
    """The weights of one plane, float32[rows, cols], still rotated."""
    rows = row_scales.size
    weights = np.empty((rows, cols), np.float32)
    status = _native.library().rbe_decode_plane(
        _native.pointer(stream, ctypes.c_uint8),
        stream.size,
        _native.pointer(row_scales, ctypes.c_uint16),
        rows,
        cols,
        ctypes.byref(native_codebook(book)),
        unit_rows,
        scale,
        _native.pointer(weights, ctypes.c_float),
    )
    _native.check(status, PackError)
    return weights
