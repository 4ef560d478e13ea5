"""Bands: rows of an embedding with rates of their own, joined by the engine to the matrix that they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from index_reader import read_index

from rbe_edge import Model
from rbe_edge.bench import shapes
from rbe_edge.errors import ModelError
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.format import writer
from rbe_edge.format.bands import PART, band_name, is_band, matrix_of
from rbe_edge.format.parts import Part
from rbe_edge.format.reader import read_file
from rbe_edge.packing import bands
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import TensorPlan
from rbe_edge.tuning.dense_model import write_dense
from rbe_edge.tuning.tune import TuneOptions, tune

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 80
TOKENS = list(range(20, 44))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama_tied"], tmp_path_factory.mktemp("source") / "tied")


def packed(source: Path, out: Path, bits: float = 4.5) -> PackReport:
    text = out.with_suffix(".txt")
    text.write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "UNIT_ROWS", 32)
        patch.setattr(bands, "LEAST_ROWS", 64)
        return pack(source, out, PackOptions(bits=bits, calibrate=text, force=True))


@pytest.fixture(scope="module")
def file(source: Path, tmp_path_factory: pytest.TempPathFactory) -> PackReport:
    return packed(source, tmp_path_factory.mktemp("packed") / "bands.rbe")


def test_names() -> None:
    assert band_name("embedding", 3) == "embedding#3"
    assert (matrix_of("embedding#3"), matrix_of("layers.0.attention.q")) == ("embedding", "layers.0.attention.q")
    assert is_band("head#0") and not is_band("head")


@pytest.mark.parametrize("rows", [1, 1023, 1024, 1025, 32000, 49152, 262144])
def test_bands_are_few_and_whole_strips(rows: int) -> None:
    step, n = bands.rows_of_band(rows), bands.count(rows)
    assert step % bands.UNIT_ROWS == 0 and step >= bands.LEAST_ROWS
    assert (n - 1) * step < rows <= n * step and n <= bands.MOST_BANDS


def test_energies_by_band() -> None:
    found = bands.by_band(np.array([0, 5, 1024, 3000]), np.array([1.0, 2.0, 4.0, 8.0]), 3001)
    assert list(found) == [3.0, 4.0, 8.0]


def test_sensitivities_are_divided_by_energies(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "UNIT_ROWS", 32)
    monkeypatch.setattr(bands, "LEAST_ROWS", 64)
    plan = plan_model(open_source(source))
    embedding = next(tensor for tensor in plan.tensors if tensor.name == "embedding")
    n = bands.count(embedding.rows)
    energies = [float(n - number) for number in range(n)]
    sensitivities = {"embedding": 3.0, "layers.0.attention.q": 1.0}
    tensors, found = bands.split(plan.tensors, sensitivities, {"embedding": energies})
    cut = [tensor for tensor in tensors if is_band(tensor.name)]
    assert [tensor.name for tensor in cut] == [f"embedding#{number}" for number in range(n)]
    assert sum(tensor.rows for tensor in cut) == embedding.rows
    np.testing.assert_array_equal(np.concatenate([tensor.read() for tensor in cut]), embedding.read())
    assert found["layers.0.attention.q"] == 1.0 and "embedding" not in found
    assert sum(found[tensor.name] for tensor in cut) == pytest.approx(3.0)
    by_row = [found[tensor.name] / tensor.rows for tensor in cut]
    assert by_row[:-1] == sorted(by_row[:-1], reverse=True)
    assert min(by_row) > bands.EVEN_SHARE * 3.0 / embedding.rows * 0.99  # none is given up
    whole, same = bands.split(plan.tensors, sensitivities, {})
    assert whole == plan.tensors and same == sensitivities


def test_what_cannot_be_cut_stays_whole() -> None:
    values = np.ones((4096, 8), np.float32)
    made = TensorPlan("embedding", "embedding", 4096, 8, values=values)
    assert bands.split([made], {"embedding": 1.0}, {"embedding": [1.0] * 4}) == ((made,), {"embedding": 1.0})


def test_the_file_has_bands_of_several_rates(file: PackReport) -> None:
    rates = {tensor.name: tensor.planes for tensor in file.tensors if is_band(tensor.name)}
    assert len(rates) == 5 and len(set(rates.values())) > 1
    index = read_index(file.path)
    assert index.parts["bands"].flags == 1 and index.parts["bands"].data == b""
    with Model.open(file.path) as model:
        assert model.info.format_version == 3 and not any(is_band(name) for name in model.tensors)
        whole = model.tensors["embedding"]
        assert whole.kind == "bands" and len(whole.plane_bits) == max(map(len, rates.values()))
        assert (whole.rows, whole.data_bytes) == (272, sum(index.tensors[name].n_bytes for name in rates))
        assert 0 < whole.error < 0.1


def test_it_computes_what_its_dense_copy_does(file: PackReport, tmp_path: Path) -> None:
    """At once and token by token; with the same bits whatever the threads and the memory that it may take."""
    with Model.open(file.path) as model:
        copy = write_dense(model, tmp_path / "dense.rbe", lambda done, total: None)
        with Model.open(copy.path) as dense:
            assert divergence(model, dense, TOKENS, window=len(TOKENS)).kl < 0.01  # activations are rounded
        with model.session(threads=1) as session:
            session.prefill(TOKENS)
            expected = session.logits.copy()
        with model.session(threads=1) as session:
            for token in TOKENS:
                session.prefill([token])
            np.testing.assert_allclose(session.logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    with Model.open(file.path) as model, model.session(threads=3) as session:
        session.prefill(TOKENS)
        np.testing.assert_array_equal(session.logits, expected)


def rows_of(data: bytes, n_rows: int, widths: list[int], first: int, rows: int) -> bytes:
    """Of a tensor whose parts lie one after the other, with so many bytes for a row in each."""
    pieces, at = [], 0
    for width in widths:
        pieces.append(data[at + first * width : at + (first + rows) * width])
        at += n_rows * width
    assert at == len(data)
    return b"".join(pieces)


def cut_apart(whole: Path, out: Path, rows: int) -> Path:
    """A file whose embedding lies in bands of so many rows, a multiple of 256: the same streams."""
    stored = read_file(whole)
    tensor, data = stored.tensors["embedding"], bytes(stored.data("embedding"))
    entry = tensor.entry
    widths = [w for book in entry.codebooks for w in (2, entry.cols * stored.codebooks[book].bits // 8)]
    pieces = {}
    for number, first in enumerate(range(0, entry.rows, rows)):
        piece = rows_of(data, entry.rows, widths, first, rows)
        name = band_name("embedding", number)
        pieces[name] = (dataclasses.replace(entry, name=name, rows=rows, n_bytes=len(piece)), piece)
    others = [other.entry for name, other in stored.tensors.items() if name != "embedding"]
    entries = [*(piece for piece, _ in pieces.values()), *others]
    with writer.PackWriter(out, stored.metadata, stored.codebooks, stored.blobs, entries, parts=[PART]) as writing:
        for _, piece in pieces.values():
            writing.write_tensor([piece], tensor.error, tensor.tensor_scale)
        for other in others:
            stored_other = stored.tensors[other.name]
            writing.write_tensor([bytes(stored.data(other.name))], stored_other.error, stored_other.tensor_scale)
        writing.commit()
    return out


def test_a_matrix_cut_apart_gives_the_same_bits(tmp_path: Path) -> None:
    """Whatever the threads, the memory that it may take, and the number of tokens."""
    whole = tmp_path / "whole.rbe"
    shapes.write_model(shapes.Shape("wide", "nothing", 4, 1024, 16, 4, 64, 2048, 8192), (4,), whole)
    banded = cut_apart(whole, tmp_path / "bands.rbe", 2048)
    limit = banded.stat().st_size - (8 << 20)
    tokens = [(index * 997) % 8192 for index in range(40)]
    found = []
    for path, threads, memory in (whole, 2, 0), (banded, 1, 0), (banded, 3, 0), (banded, 2, limit):
        with (
            Model.open(path, max_memory=memory) as model,
            model.session(context=64, threads=threads, pass_tokens=16) as session,
        ):
            assert model.read_bytes() == found[0][0] if found else model.read_bytes()
            session.prefill(tokens)
            at_once = session.logits.copy()
            session.prefill([5])
            found.append((model.read_bytes(), at_once, session.logits.copy(), model.tensor_rows("embedding", 2040, 20)))
    for _, *values in found[1:]:
        for ours, expected in zip(values, found[0][1:], strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_it_can_be_tuned(file: PackReport, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.rbe"
    report = tune(file.path, source, TEXT, out, TuneOptions(steps=4, batch=2, learning_rate=5e-3, threads=1))
    assert report.kl_after <= report.kl_before * 1.01
    before, after = read_file(file.path), read_file(out)
    assert PART.name in after.parts and list(after.tensors) == list(before.tensors)
    assert before.rows_of("embedding#1") == ("embedding", slice(64, 128)) and before.rows_of("norm")[0] == "norm"
    with Model.open(out) as model, Model.open(file.path) as packed_model:
        ratio = model.tensor_rows("embedding") / packed_model.tensor_rows("embedding")
        assert model.tensors["embedding"].kind == "bands"
        assert 0.9 < np.nanmedian(np.abs(ratio)) < 1.1


def rewritten(file: Path, out: Path, change: Callable[[list[writer.TensorEntry]], list[writer.TensorEntry]]) -> Path:
    """The file again with other index entries for the same data."""
    stored = read_file(file)
    entries = change([tensor.entry for tensor in stored.tensors.values()])
    with writer.PackWriter(out, stored.metadata, stored.codebooks, stored.blobs, entries, parts=[PART]) as writing:
        for name, tensor in stored.tensors.items():
            writing.write_tensor([bytes(stored.data(name))], tensor.error, tensor.tensor_scale)
        writing.commit()
    return out


def renamed(old: str, new: str) -> Callable[[list[writer.TensorEntry]], list[writer.TensorEntry]]:
    return lambda entries: [dataclasses.replace(e, name=new) if e.name == old else e for e in entries]


def changed(name: str, **fields: object) -> Callable[[list[writer.TensorEntry]], list[writer.TensorEntry]]:
    return lambda entries: [dataclasses.replace(e, **fields) if e.name == name else e for e in entries]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed("embedding#0", "embedding#9"), "is a band out of its place"),
        (renamed("embedding#2", "embedding#3x"), "is a band out of its place"),
        (renamed("embedding#2", "embedding#"), "is a band out of its place"),
        (renamed("embedding#4", "embedding#04"), "is a band out of its place"),
        (renamed("embedding#4", "embedding"), "two tensors are named `embedding`"),
        (renamed("embedding#4", "other#0"), "the hyper-parameters make it"),
        (renamed("norm", "norm#0"), "are not of the kind trellis"),
        (changed("embedding#1", seed=5), "differ in their rotation"),
        (changed("embedding#1", rotation_block=1), "differ in their rotation"),
        (renamed("norm", "#0"), "tensor `norm` is missing"),
    ],
)
def test_what_makes_no_matrix_is_refused(
    change: Callable[[list[writer.TensorEntry]], list[writer.TensorEntry]], says: str, file: PackReport, tmp_path: Path
) -> None:
    damaged = rewritten(file.path, tmp_path / "damaged.rbe", change)
    with pytest.raises(ModelError, match=says.replace("#", r"\#")):
        Model.open(damaged)


def test_names_with_marks_are_names_where_nothing_says_otherwise(file: PackReport, tmp_path: Path) -> None:
    """Without the part the tensors are what their names are, and no embedding is there."""
    stored = read_file(file.path)
    entries = [tensor.entry for tensor in stored.tensors.values()]
    out = tmp_path / "without.rbe"
    other: list[Part] = [Part("other", 1, b"")]
    with writer.PackWriter(out, stored.metadata, stored.codebooks, stored.blobs, entries, parts=other) as writing:
        for name, tensor in stored.tensors.items():
            writing.write_tensor([bytes(stored.data(name))], tensor.error, tensor.tensor_scale)
        writing.commit()
    with pytest.raises(ModelError, match="tensor `embedding` is missing"):
        Model.open(out)
