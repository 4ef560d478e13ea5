"""Encoding with error feedback: less of what counts is lost, whatever the shape, on any number of threads."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError

FloatArray = npt.NDArray[np.float32]


def _factor(h: npt.NDArray[np.float64]) -> FloatArray:
    """U of inverse(H) = U^T U, padded to groups of 4 columns."""
    n = len(h)
    padded = np.eye(-(-n // 4) * 4, dtype=np.float32)
    padded[:n, :n] = np.linalg.cholesky(np.linalg.inv(h)).T
    return padded


def _correlated(cols: int, seed: int) -> npt.NDArray[np.float64]:
    x = np.random.default_rng(seed).standard_normal((4 * cols, cols))
    x = x @ (np.eye(cols) + 0.8 * np.random.default_rng(seed + 1).standard_normal((cols, cols)) / np.sqrt(cols))
    h = x.T @ x / len(x)
    return h + 0.01 * np.trace(h) / cols * np.eye(cols)


def _encode(
    weights: FloatArray, bits: int, feedback: FloatArray | None, threads: int
) -> tuple[bytes, bytes, FloatArray]:
    rows, cols = weights.shape
    book = trellis.CODEBOOKS[bits]
    layout = _native.PlaneLayout()
    library = _native.library()
    _native.check(library.rbe_plane_get_layout(rows, cols, bits, 0, ctypes.byref(layout)))
    scales, stream, error = np.zeros(rows, np.uint16), np.zeros(layout.stream_bytes, np.uint8), ctypes.c_double()
    options = _native.EncodeOptions(struct_bytes=ctypes.sizeof(_native.EncodeOptions), n_threads=threads)
    if feedback is not None:
        options.feedback = _native.pointer(feedback, ctypes.c_float)
    status = library.rbe_encode_plane(
        _native.pointer(weights, ctypes.c_float), rows, cols, ctypes.byref(trellis.native_codebook(book)), 0, 0.01,
        ctypes.byref(options), _native.pointer(scales, ctypes.c_uint16), _native.pointer(stream, ctypes.c_uint8),
        ctypes.byref(error),
    )  # fmt: skip
    _native.check(status, PackError)
    return scales.tobytes(), stream.tobytes(), trellis.decode_plane(stream, scales, cols, book, layout.unit_rows, 0.01)


def _loss(weights: FloatArray, decoded: FloatArray, h: npt.NDArray[np.float64]) -> float:
    error = (weights - decoded).astype(np.float64)
    return float(((error @ h) * error).sum())


# Several strips, a short strip with cells of many groups, columns that are no multiple of 4, strips of unequal height.
@pytest.mark.parametrize(("rows", "cols"), [(512, 64), (40, 96), (264, 62), (300, 172)])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_less_is_lost(rows: int, cols: int, bits: int) -> None:
    """Trained rows are large where inputs are: scales of least error would lose most of what feedback wins."""
    h = _correlated(cols, 11)
    weights = (np.random.default_rng(7).standard_normal((rows, cols)) @ h).astype(np.float32)
    plain = _encode(weights, bits, None, 1)[2]
    fed = _encode(weights, bits, _factor(h), 1)[2]
    assert _loss(weights, fed, h) < 0.75 * _loss(weights, plain, h)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_errors_do_not_depend_on_the_weights(bits: int) -> None:
    weights = np.random.default_rng(9).standard_normal((256, 64)).astype(np.float32)
    fed = _encode(weights, bits, _factor(_correlated(64, 5)), 1)[2]
    kept = float((fed * weights).sum() / (weights**2).sum())
    assert kept == pytest.approx(1, abs=0.4 * trellis.encode(weights, (bits,), 1).error)


def test_nested_planes_and_plain_sums() -> None:
    """Nested: the first plane is nearly a file of its own. Not nested: the sum is better, the first plane poor."""
    rows, cols, seed = 256, 64, 3
    h = _correlated(cols, 11)
    weights = (np.random.default_rng(7).standard_normal((rows, cols)) @ h).astype(np.float32)
    rotated_h, rotated = h.astype(np.float32), weights.copy()
    for _ in range(2):
        trellis.rotate(rotated_h, trellis.rotation_block(cols), seed)
        rotated_h = np.ascontiguousarray(rotated_h.T)
    trellis.rotate(rotated, trellis.rotation_block(cols), seed)
    factor = _factor(rotated_h.astype(np.float64))

    def losses(planes: tuple[int, ...], nested: bool) -> tuple[float, float]:
        encoded = trellis.encode(weights, planes, seed, feedback=factor, nested=nested)
        layout = trellis.plane_layouts(rows, cols, planes)[0]
        scales = np.frombuffer(encoded.data[0], np.uint16, rows).copy()
        stream = np.frombuffer(encoded.data[1], np.uint8, layout.stream_bytes).copy()
        book = trellis.CODEBOOKS[planes[0]]
        first = trellis.decode_plane(stream, scales, cols, book, layout.unit_rows, encoded.tensor_scale)
        assert encoded.decoded is not None
        return _loss(rotated, first, rotated_h.astype(np.float64)), _loss(weights, encoded.decoded, h)

    two, four = losses((2,), False)[1], losses((4,), False)[1]
    first, total = losses((2, 2), True)
    assert first < 1.3 * two
    assert total < 2 * four
    plain_first, plain_total = losses((2, 2), False)
    assert plain_total < total and plain_first > first


def test_threads_do_not_change_the_bytes() -> None:
    weights = np.random.default_rng(3).standard_normal((1030, 64)).astype(np.float32)
    feedback = _factor(_correlated(64, 2))
    one, two, three = (_encode(weights, 3, feedback, threads)[:2] for threads in (1, 2, 3))
    assert one == two == three


def test_without_correlation_feedback_changes_nothing() -> None:
    weights = np.random.default_rng(4).standard_normal((256, 32)).astype(np.float32)
    assert _encode(weights, 4, np.eye(32, dtype=np.float32), 1)[1] == _encode(weights, 4, None, 1)[1]


def test_a_bad_factor_is_refused() -> None:
    weights = np.zeros((256, 32), np.float32)
    feedback = np.eye(32, dtype=np.float32)
    feedback[5, 5] = 0
    with pytest.raises(PackError, match="element 5 of the diagonal"):
        _encode(weights, 4, feedback, 1)
