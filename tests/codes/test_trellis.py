"""The codec against docs/codec.md and docs/format.md: its tables, its error, its rotation, and the numpy decoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import reference_decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.codes import trellis
from rbe_edge.errors import Cancelled, PackError

FloatArray = npt.NDArray[np.float32]

# Squared error on a unit Gaussian over 64-step lanes: docs/codec.md, "Error".
TARGETS = {(1,): 0.2785, (2,): 0.0720, (3,): 0.0187, (4,): 0.00485, (2, 1): 0.0201, (2, 2): 0.00525, (4, 2): 0.00036}


def gaussian(rows: int, cols: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def tables(bits: int) -> reference_decoder.Codebook:
    book = trellis.CODEBOOKS[bits]
    return reference_decoder.Codebook(bits, np.array(book.t1, np.int8), np.array(book.t2, np.int8))


def decoded_by_numpy(
    encoded: trellis.Encoded, rows: int, cols: int, planes: tuple[int, ...], seed: int
) -> reference_decoder.Tensor:
    return reference_decoder.Tensor(
        reference_decoder.TRELLIS, rows, cols, encoded.error, b"".join(encoded.data), trellis.rotation_block(cols),
        seed, encoded.tensor_scale, False, tuple(map(tables, planes)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "first"),
    [(1, (-51, 23, -20, -32)), (2, (18, 10, -20, 6)), (3, (-3, 8, 8, -8)), (4, (-1, -10, 8, 9))],
)
def test_check_vectors_of_the_format(bits: int, first: tuple[int, ...]) -> None:
    """docs/format.md, "Check", in both decoders."""
    lane = ((37 * np.arange(8 * bits) + 11) % 256).astype(np.uint8)
    assert tuple(reference_decoder.decode_lanes(lane[None], tables(bits))[0, :4]) == first
    stream = np.repeat(lane, 16)  # 256 x 4 weights: one cell, all 16 lanes alike
    ones = np.ones(256, np.float16).view(np.uint16)
    weights = trellis.decode_plane(stream, ones, 4, trellis.CODEBOOKS[bits], 0, 1.0)
    np.testing.assert_array_equal(weights[:16], np.repeat(np.array(first, np.float32), 4)[:, None].repeat(4, axis=1))


@pytest.mark.parametrize("planes", list(TARGETS))
def test_error_on_a_gaussian(planes: tuple[int, ...]) -> None:
    assert trellis.encode(gaussian(256, 128, 3), planes, seed=1).error < 1.03 * TARGETS[planes]


def test_unequal_rows_cost_no_more() -> None:
    """Rows of unequal size: the whole error is at most what equal rows have, and no row is given up."""
    sizes = np.exp(np.random.default_rng(1).standard_normal((256, 1))).astype(np.float32)
    weights = gaussian(256, 128, 2) * sizes
    encoded = trellis.encode(weights, (3,), seed=1)
    assert encoded.error < TARGETS[(3,)]
    left = decoded_by_numpy(encoded, 256, 128, (3,), 1).values() - weights
    assert ((left**2).sum(axis=1) < 0.25 * (weights.astype(np.float64) ** 2).sum(axis=1)).all()


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 600),
    cols=st.integers(1, 70) | st.sampled_from([96, 172, 257]),
    planes=st.sampled_from(list(TARGETS)),
    seed=st.integers(0, 2**64 - 1),
)
def test_numpy_reads_what_was_written(rows: int, cols: int, planes: tuple[int, ...], seed: int) -> None:
    n_bytes = trellis.encoded_bytes(rows, cols, planes)
    weights = gaussian(rows, cols, seed)
    if n_bytes is None:
        with pytest.raises(PackError, match="store it dense"):
            trellis.encode(weights, planes, seed)
        return
    encoded = trellis.encode(weights, planes, seed)
    assert sum(map(len, encoded.data)) == n_bytes
    read = decoded_by_numpy(encoded, rows, cols, planes, seed)
    streams = encoded.data[1::2]  # each after its row scales
    layouts = trellis.plane_layouts(rows, cols, planes)
    ones = np.ones(rows, np.float16).view(np.uint16)
    for bits, layout, stream, integers in zip(planes, layouts, streams, read.integers(), strict=True):
        data = np.frombuffer(stream, np.uint8, layout.stream_bytes).copy()
        by_c = trellis.decode_plane(data, ones, cols, trellis.CODEBOOKS[bits], layout.unit_rows, 1.0)
        np.testing.assert_array_equal(by_c, integers)
    norm = float((weights.astype(np.float64) ** 2).sum())
    error = float(((read.values() - weights) ** 2).sum()) / norm
    assert encoded.error == pytest.approx(error, rel=1e-3, abs=1e-9)


def test_splitmix64_of_the_rotation() -> None:
    """The first outputs from state 1234567 (S. Vigna's reference code)."""
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert reference_decoder.splitmix64(1234567, 5) == expected
    row = np.ones((1, 5), np.float32)
    trellis.rotate(row, 1, 1234567)
    np.testing.assert_array_equal(row[0], [-1 if output >> 63 else 1 for output in expected])


@pytest.mark.parametrize(("cols", "block"), [(7, 1), (12, 4), (96, 32), (192, 64), (1024, 1024)])
def test_rotation(cols: int, block: int) -> None:
    """W D H as in the format: orthonormal, and undone by its inverse."""
    assert trellis.rotation_block(cols) == block
    identity = np.eye(cols, dtype=np.float32)
    rotated = identity.copy()
    trellis.rotate(rotated, block, 99)
    np.testing.assert_allclose(rotated.astype(np.float64) @ rotated.T.astype(np.float64), identity, atol=1e-5)
    np.testing.assert_allclose(reference_decoder.unrotate(rotated.astype(np.float64), block, 99), identity, atol=1e-5)
    trellis.rotate(rotated, block, 99, inverse=True)
    np.testing.assert_allclose(rotated, identity, atol=1e-5)


def test_bytes_do_not_depend_on_threads() -> None:
    weights = gaussian(300, 90, 4)
    one = trellis.encode(weights, (3, 2), seed=5, threads=1)
    assert trellis.encode(weights, (3, 2), seed=5, threads=3) == one
    assert trellis.encode(weights, (3, 2), seed=6, threads=1) != one


@pytest.mark.parametrize("planes", [(2,), (4,), (2, 2)])
def test_the_quick_search_loses_little(planes: tuple[int, ...]) -> None:
    weights = np.random.default_rng(4).standard_normal((256, 512)).astype(np.float32)
    thorough = trellis.encode(weights, planes, 7)
    quick = trellis.encode(weights, planes, 7, 1, quick=True)
    assert thorough.error < quick.error < 1.12 * thorough.error
    assert trellis.encode(weights, planes, 7, 3, quick=True).data == quick.data
    decoded = trellis.decode(b"".join(quick.data), planes, 256, 512, 7, quick.tensor_scale)
    error = trellis.squared_norm(weights - decoded) / trellis.squared_norm(weights)
    assert error == pytest.approx(quick.error, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e15])
def test_any_size_of_weights(scale: float) -> None:
    """Row scales stay inside the range of fp16 whatever the weights are measured in."""
    encoded = trellis.encode(gaussian(32, 64, 6) * np.float32(scale), (4,), seed=1)
    assert encoded.error < 0.007


def test_zeros() -> None:
    weights = gaussian(64, 64, 7)
    weights[10] = 0
    encoded = trellis.encode(weights, (2,), seed=1)
    assert (decoded_by_numpy(encoded, 64, 64, (2,), 1).values()[10] == 0).all()
    assert trellis.encode(np.zeros((64, 64), np.float32), (2,), seed=1).error == 0


def _stop(raised: type[BaseException]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        assert 0 <= done <= total
        raise raised

    return progress


@pytest.mark.parametrize("raised", [Cancelled, KeyboardInterrupt])
def test_progress_can_stop_it(raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        trellis.encode(gaussian(64, 64, 8), (2,), seed=1, threads=1, progress=_stop(raised))


def test_progress_ascends_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    weights = gaussian(64, 64, 8)
    trellis.encode(weights, (2, 2), seed=1, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    weights = gaussian(32, 64, 9)
    weights[3, 5] = value
    with pytest.raises(PackError, match="not finite"):
        trellis.encode(weights, (4,), seed=1)
