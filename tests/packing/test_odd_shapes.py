"""Property: whatever the shape, what is packed is what is read, by the C reader and within the error that was said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge import Model
from rbe_edge.codes import trellis
from rbe_edge.format import writer
from rbe_edge.packing import storage
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan, TensorPlan

# What the codec leaves of Gaussian numbers (docs/codec.md), with room for streams of 32 steps and few numbers.
BOUNDS = {(4,): 0.008, (3,): 0.029, (2,): 0.11, (2, 1): 0.036, (2, 2): 0.011, (4, 2): 0.0012}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelPlan:
    """A model to which a tensor of any shape can be added."""
    return plan_model(open_source(tiny_models.write(tiny_models.MODELS["llama"], tmp_path_factory.mktemp("base"))))


def write(path: Path, base: ModelPlan, values: np.ndarray, planes: tuple[int, ...], seed: int) -> float | None:
    """Writes the model with one more tensor; gives its error, None where the tensor is too small for the trellis."""
    rows, cols = values.shape
    n_bytes = trellis.encoded_bytes(rows, cols, planes)
    if n_bytes is None:
        return None
    entries = [
        writer.TensorEntry(tensor.name, writer.KIND_FP32, tensor.rows, tensor.cols, 4 * tensor.rows * tensor.cols)
        for tensor in base.tensors
    ]
    entries.append(
        writer.TensorEntry(
            "odd",
            writer.KIND_TRELLIS,
            rows,
            cols,
            n_bytes,
            seed,
            trellis.rotation_block(cols),
            0,
            tuple(range(len(planes))),
        )
    )
    books = [trellis.CODEBOOKS[bits] for bits in planes]
    encoded = trellis.encode(values, planes, seed)
    with writer.PackWriter(
        path,
        {"parameters": base.parameters, "name": "odd", **base.metadata},
        [writer.CodebookEntry(book.bits, book.t1, book.t2) for book in books],
        {},
        entries,
        force=True,
    ) as file:
        for tensor in base.tensors:
            file.write_tensor([tensor.read()], 0.0)
        file.write_tensor(encoded.data, encoded.error, encoded.tensor_scale)
        file.commit()
    return encoded.error


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 600),
    cols=st.integers(1, 150) | st.sampled_from([172, 257, 300, 520]),
    planes=st.sampled_from(list(BOUNDS)),
    seed=st.integers(0, 2**64 - 1),
    scale=st.sampled_from([1.0, 1e-6, 1e4]),
)
def test_pack_and_read(
    tmp_path_factory: pytest.TempPathFactory,
    base: ModelPlan,
    rows: int,
    cols: int,
    planes: tuple[int, ...],
    seed: int,
    scale: float,
) -> None:
    values = (scale * np.random.default_rng(seed).standard_normal((rows, cols))).astype(np.float32)
    path = tmp_path_factory.mktemp("odd") / "m.rbe"
    said = write(path, base, values, planes, seed)
    if said is None:
        return
    with Model.open(path) as model:
        read = model.tensor_rows("odd")
        assert model.tensors["odd"].plane_bits == planes
        first = rows // 3
        np.testing.assert_array_equal(model.tensor_rows("odd", first, rows - first), read[first:])
    difference = read.astype(np.float64) - values
    error = float((difference**2).sum() / (values.astype(np.float64) ** 2).sum())
    assert error == pytest.approx(said, rel=1e-3)
    if rows * cols >= 2000:
        assert error < BOUNDS[planes]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 31, 33, 600])
def test_every_width_has_a_storage(rows: int) -> None:
    """Trellis where the streams are long enough, 16 bits elsewhere: nothing is refused for its shape."""
    for cols in (1, 2, 3, 4, 5, 63, 64, 65, 257):
        plan = TensorPlan("x", "matrix", rows, cols, values=np.ones((rows, cols), np.float32))
        chosen = storage.in_planes(plan, (4,)) or storage.dense(plan, 16)
        assert chosen.kind in (writer.KIND_TRELLIS, writer.KIND_FP16)
        if chosen.kind == writer.KIND_FP16:
            assert chosen.n_bytes == 2 * rows * cols
        assert chosen.kind == writer.KIND_TRELLIS or rows * cols < 2048
