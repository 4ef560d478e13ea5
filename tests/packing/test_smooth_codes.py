"""The smooth codes in files: which tables get them, what the engine makes of them, hostile bytes, the comparison."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from index_reader import mend_index, read_index

from rbe_edge import Model
from rbe_edge.codes import basis, seed64, trellis
from rbe_edge.errors import ModelError
from rbe_edge.format import writer
from rbe_edge.packing import smooth_codes, storage
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import Stored
from rbe_edge.sources.tokenizers import read_tokenizer
from rbe_edge.sources.tokenizers.blob import write_blob

GPT2 = dict(tiny_models.MODELS["gpt2"].config)


def noise(rows: int, cols: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def sinusoids(rows: int, cols: int) -> np.ndarray:
    """The positions of the first transformers."""
    angles = np.arange(rows)[:, None] / 10000 ** (np.arange(cols // 2)[None, :] * 2 / cols)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def relative(found: np.ndarray, values: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - values) / np.linalg.norm(values.astype(np.float64)))


# ---- the choice ----


def test_smooth_tables_are_coded_and_noise_is_not() -> None:
    planes = (4, 2)
    table = sinusoids(128, 32)
    stored = smooth_codes.for_table(table, planes)
    planned = trellis.encoded_bytes(128, 32, planes)
    assert stored is not None and stored.kind == writer.KIND_BASIS and planned is not None
    assert len(stored.data) < planned
    assert stored.error < np.sqrt(trellis.encode(table, planes, 1).error) / 4
    assert smooth_codes.for_table(table, planes, threads=1) == stored
    assert smooth_codes.for_table(noise(64, 32), planes) is None
    assert smooth_codes.for_table(np.zeros((64, 32), np.float32), planes) is None
    assert smooth_codes.for_table(table[:2, :4], planes) is None  # too small for the trellis
    seeded = smooth_codes.for_table(seed64.weights(0x8F63A09C5EF86590, 0.1, 64, 32), planes)
    assert seeded is not None and (seeded.kind, len(seeded.data)) == (writer.KIND_SEED64, 12)


def write_gpt2(directory: Path, positions: np.ndarray) -> Path:
    """A tiny GPT-2 with these positions."""
    config = GPT2 | {"n_positions": len(positions), "n_ctx": len(positions)}
    model = tiny_models.TinyModel("gpt2", config, "transformer.")
    tiny_models.write(model, directory)
    weights = tiny_models.tensors(model)
    assert weights["transformer.wpe.weight"].shape == positions.shape
    weights["transformer.wpe.weight"] = positions
    tiny_models.write_safetensors(directory / "model.safetensors", weights)
    return directory


def logits(path: Path) -> np.ndarray:
    with Model.open(path) as model, model.session() as session:
        session.prefill([1, 2, 3, 4, 5, 200, 7])
        return np.array(session.logits)


def test_packed_positions_are_what_the_engine_adds(tmp_path: Path) -> None:
    """A file with coded positions gives the logits of one with the same positions dense."""
    table = 0.2 * sinusoids(64, tiny_models.WIDTH)
    source = write_gpt2(tmp_path / "smooth", table)
    report = pack(source, tmp_path / "coded.rbe", PackOptions(bits=4, calibrate="none"))
    positions = next(tensor for tensor in report.tensors if tensor.name == "positions")
    assert positions.kind == "basis" and positions.bytes < 64 * 64
    assert {tensor.kind for tensor in read_index(tmp_path / "coded.rbe").tensors.values()} > {writer.KIND_BASIS}
    with Model.open(tmp_path / "coded.rbe") as model:
        assert model.info.format_version == 2
        info = model.tensors["positions"]
        assert (info.kind, info.error) == ("basis", pytest.approx(positions.error))
        decoded = model.tensor_rows("positions")
        assert relative(decoded, table) == pytest.approx(np.sqrt(positions.error), rel=1e-3)
    again = pack(source, tmp_path / "again.rbe", PackOptions(bits=4, calibrate="none", threads=1))
    assert (tmp_path / "again.rbe").read_bytes() == (tmp_path / "coded.rbe").read_bytes() and again.tensors
    exact = write_gpt2(tmp_path / "dense", decoded)
    pack(exact, tmp_path / "dense.rbe", PackOptions(bits=32))
    with Model.open(tmp_path / "dense.rbe") as model:
        assert model.info.format_version == 1
    # At 32 bits nothing but the positions differs: write the same model with positions coded.
    replace_tensors(exact, tmp_path / "mixed.rbe", {"positions": read_stored(tmp_path / "coded.rbe", "positions")})
    assert np.array_equal(logits(tmp_path / "mixed.rbe"), logits(tmp_path / "dense.rbe"))


def read_stored(path: Path, name: str) -> Stored:
    index = read_index(path)
    tensor = index.tensors[name]
    entry = struct.pack("<III4Bf", *tensor.basis) if tensor.basis else b""
    return Stored(tensor.kind, index.tensor_data(name), entry, tensor.error)


def replace_tensors(source: Path, out: Path, stored: dict[str, Stored]) -> None:
    """The model in fp32, but for the tensors given."""
    opened = open_source(source)
    plan = plan_model(opened)
    entries, parts = [], []
    for tensor in plan.tensors:
        code = stored.get(tensor.name)
        if code is None:
            data, _ = storage.dense_data(tensor.read(), storage.dense(tensor, 32).kind)
            code = Stored(writer.KIND_FP32, data.tobytes(), b"", 0.0)
        parts.append(code.data)
        entries.append(
            writer.TensorEntry(tensor.name, code.kind, tensor.rows, tensor.cols, len(code.data), own=code.entry)
        )
    blobs = {"tokenizer": write_blob(read_tokenizer(opened.directory))}
    with writer.PackWriter(out, {**plan.metadata}, [], blobs, entries) as file:
        for part in parts:
            file.write_tensor([part], 0.0)
        file.commit()


@pytest.mark.parametrize("name", ["embedding", "layers.0.attention.q", "layers.1.feed_forward.down"])
def test_any_matrix_can_be_of_either_kind(tmp_path: Path, name: str) -> None:
    """Looked up, multiplied by or serving as a tied lm_head: the logits are those of the decoded matrix in fp32."""
    source = write_gpt2(tmp_path / "model", 0.2 * sinusoids(64, tiny_models.WIDTH))
    tensors = {tensor.name: tensor.read() for tensor in plan_model(open_source(source)).tensors}
    rows, cols = tensors[name].shape
    quantised = basis.Analysis(tensors[name], basis.Shape(32, 64, basis.COSINES)).quantise(0.05)
    encoded = quantised.encode()
    codes = {
        "basis": Stored(writer.KIND_BASIS, encoded.data, encoded.entry, 0.0),
        "seed64": Stored(writer.KIND_SEED64, struct.pack("<Qf", 2**63 + 12345, 0.1), b"", 0.0),
    }
    for kind, code in codes.items():
        replace_tensors(source, tmp_path / f"{kind}.rbe", {name: code})
        with Model.open(tmp_path / f"{kind}.rbe") as model:
            decoded = model.tensor_rows(name)
        expected = quantised.decode() if kind == "basis" else seed64.weights(2**63 + 12345, 0.1, rows, cols)
        np.testing.assert_allclose(decoded, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        dense = Stored(writer.KIND_FP32, decoded.astype("<f4").tobytes(), b"", 0.0)
        replace_tensors(source, tmp_path / f"{kind}-dense.rbe", {name: dense})
        assert np.array_equal(logits(tmp_path / f"{kind}.rbe"), logits(tmp_path / f"{kind}-dense.rbe"))


# ---- hostile files ----


def damaged(path: Path, name: str, change: Callable[[bytearray, int, int], None]) -> Path:
    """A copy in which change(data, place of the tensor's own fields, offset of its data) was done, checksums right."""
    index = read_index(path)
    tensor = index.tensors[name]
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<I", len(name)) + name.encode()) + 4 + len(name)
    change(data, place + 36, tensor.offset)
    area = bytes(data[tensor.offset : tensor.offset + tensor.n_bytes])
    data[place + 28 : place + 32] = struct.pack("<I", zlib.crc32(area))
    mend_index(data)
    out = path.with_name("damaged.rbe")
    out.write_bytes(data)
    return out


def put(layout: str, at: int, *values: object) -> Callable[[bytearray, int, int], None]:
    return lambda data, fields, offset: struct.pack_into("<" + layout, data, fields + at, *values)


def put_data(at: int, *values: int) -> Callable[[bytearray, int, int], None]:
    return lambda data, fields, offset: data.__setitem__(slice(offset + at, offset + at + len(values)), bytes(values))


GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "v2" / "extremes.rbe"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("positions", put("I", 0, 48), "`block_rows`"),
        ("positions", put("I", 4, 0), "`block_rows`"),
        ("positions", put("I", 8, 3), "`transform`"),
        ("positions", put("B", 12, 17), "`orders`"),
        ("positions", put("f", 16, float("nan")), "`step`"),
        ("positions", put_data(0, 1, 0, 0, 0), "does not end with its last stream"),
        ("more.both", put_data(0, 255, 255, 255, 255), "streams that overlap"),
        ("positions", put_data(4, *bytes(40)), "ends in the middle of a code"),
        ("positions", put_data(-4 + 4, 0, 0, 0, 0), "does not end with its last stream"),
        ("more.seed", put_data(8, 0, 0, 128, 127), "`scale` is not finite"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, change: Callable[..., None], message: str) -> None:
    copy = tmp_path / "copy.rbe"
    copy.write_bytes(GOLDEN.read_bytes())
    with pytest.raises(ModelError, match=message):
        Model.open(damaged(copy, name, change))


def test_an_older_version_has_no_such_kinds(tmp_path: Path) -> None:
    copy = tmp_path / "copy.rbe"
    copy.write_bytes(GOLDEN.read_bytes())

    def older(data: bytearray, fields: int, offset: int) -> None:
        data[8] = 1

    with pytest.raises(ModelError, match="needs format version 2"):
        Model.open(damaged(copy, "positions", older))


@given(st.binary(min_size=0, max_size=120))
@settings(max_examples=150, deadline=None)
def test_any_stream_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, stream: bytes) -> None:
    """Random bytes as the stream of a block: an error of one line, or rows that can be read."""
    path = tmp_path_factory.mktemp("streams") / "streams.rbe"
    data = struct.pack("<I", len(stream)) + stream
    entry = struct.pack("<III4Bf", 32, 32, 1 + len(stream) % 2, 0, 2, 1, 0, 0.5)
    source = open_source(SMALL)
    plan = plan_model(source)
    kinds = [storage.dense(tensor, 16) for tensor in plan.tensors]
    entries = [
        writer.TensorEntry(tensor.name, kind.kind, tensor.rows, tensor.cols, kind.n_bytes)
        for tensor, kind in zip(plan.tensors, kinds, strict=True)
    ]
    entries.append(writer.TensorEntry("more", writer.KIND_BASIS, 9, 33, len(data), own=entry))
    with writer.PackWriter(path, {**plan.metadata}, [], {}, entries) as file:
        for tensor, kind in zip(plan.tensors, kinds, strict=True):
            file.write_tensor([storage.dense_data(tensor.read(), kind.kind)[0]], 0.0)
        file.write_tensor([data], 0.0)
        file.commit()
    try:
        model = Model.open(path)
    except ModelError as error:
        assert "\n" not in str(error) and "data" in str(error)
        return
    with model:
        assert model.tensor_rows("more").shape == (9, 33)


SMALL = Path()


@pytest.fixture(autouse=True, scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tiny model for what is written around a tensor."""
    global SMALL
    config = GPT2 | {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 24}
    SMALL = tiny_models.write(
        tiny_models.TinyModel("small", config, "transformer."), tmp_path_factory.mktemp("small") / "small"
    )


# ---- the report ----


def test_the_comparison_is_complete_and_honest() -> None:
    rows = list(smooth_codes.compare("smooth", smooth_codes.smooth_matrix(64, 48), 1))
    codes = [row.code for row in rows]
    assert codes[0] == "seed64" and [code for code in codes if code.startswith("trellis")] == [
        f"trellis K={bits}" for bits in (1, 2, 3, 4)
    ]
    assert "basis 128x128, 8 + 5" in codes
    for row in rows:
        assert row.bits_per_weight == pytest.approx(8 * row.bytes / (64 * 48))
        assert row.ratio == pytest.approx(32 / row.bits_per_weight)
        assert row.shannon == pytest.approx(2**-row.bits_per_weight) and 0 <= row.error <= 1.001
    by_code = {row.code: row for row in rows}
    best = min((row for row in rows if row.code.startswith("basis")), key=lambda row: row.error)
    assert best.error < by_code["trellis K=4"].error / 10 and best.bytes < by_code["trellis K=4"].bytes
    gaussian = list(smooth_codes.compare("noise", noise(64, 64), 1))
    for row in gaussian:  # nothing beats Shannon on noise; a finite sample of it gives a little
        assert row.error > 0.93 * row.shannon
