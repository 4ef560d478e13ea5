"""Layers of several shapes, keys and values that several layers read, and layer embeddings: sessions of all kinds, and
files that say something wrong of them."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from changed_files import write_changed
from fixed_planes import fixed_planes
from index_reader import mend_index, read_index

from rbe_edge import Model
from rbe_edge.codes import grouped
from rbe_edge.errors import ModelError, OptionError, RbeError
from rbe_edge.format import writer
from rbe_edge.format.encoder import LAYER_KINDS
from rbe_edge.format.layer_shapes import LAYER_EMBEDDINGS, LAYER_SHAPES
from rbe_edge.format.parts import Part
from rbe_edge.format.ternary import PART as TERNARY
from rbe_edge.format.ternary import Code
from rbe_edge.packing.dense_copy import make
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.packing.schedule import RATES
from rbe_edge.runtime import fit
from rbe_edge.runtime.options import KV_TYPES, KvType
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

TOKENS = [(7 * i * i + 3 * i) % 250 for i in range(56)]


def written(directory: Path, scales: Mapping[str, float], **changes: Any) -> Path:
    """The tiny model with other values in its configuration, and tensors whose names end so multiplied."""
    model = tiny_models.MODELS["gemma4"]
    model = dataclasses.replace(model, config={**model.config, **changes})
    weights = tiny_models.tensors(model)
    for ending, scale in scales.items():
        weights |= {name: values * np.float32(scale) for name, values in weights.items() if name.endswith(ending)}
    tiny_models.write(model, directory)
    tiny_models.write_safetensors(directory / "model.safetensors", weights)
    return directory


EVEN = {"q_norm.weight": 0.2}
"""Scores are not scaled, so that those of random weights are extreme, and rounding moves them much."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("source"), EVEN)


@pytest.fixture(scope="module")
def coded(source: Path) -> Path:
    """Matrices and the table in the trellis."""
    with fixed_planes((4,), (2, 2)):
        return pack(source, source / "coded.rbe", PackOptions(bits=4, calibrate="none")).path


@pytest.fixture
def model(coded: Path) -> Iterator[Model]:
    with Model.open(coded) as opened:
        yield opened


def test_what_is_coded(model: Model, coded: Path) -> None:
    """The table and all matrices of the layers, each by its own shape; the table stands at the end."""
    kinds = {name: tensor.kind for name, tensor in model.tensors.items()}
    assert all(kinds[name] == "trellis" for name in ("layer_embedding", "layer_embedding.projection"))
    matrices = [name for name in kinds if name.startswith("layers.") and model.tensors[name].rows > 1]
    assert len(matrices) == 6 * 7 + 3 * 2 and {kinds[name] for name in matrices} == {"trellis"}
    offsets = {name: tensor.offset for name, tensor in read_index(coded).tensors.items()}
    in_order = sorted(offsets, key=lambda name: offsets[name])
    assert [name for name in in_order if not name.startswith("rope.")][-1] == "layer_embedding"


@pytest.mark.parametrize("kv", KV_TYPES)
def test_however_a_text_is_read(model: Model, kv: KvType) -> None:
    """In one pass, in passes of which the last layers see one row, token by token, and behind a rewind."""
    with model.session(kv=kv) as session:
        logits = session.score(TOKENS, logits=True).logits
        assert logits is not None
    for pass_tokens in (1, 5, 64):
        with model.session(kv=kv, pass_tokens=pass_tokens, threads=2) as session:
            session.prefill(TOKENS[:40])
            np.testing.assert_array_equal(session.logits, logits[39])
            for token, expected in zip(TOKENS[40:], logits[40:], strict=True):
                session.prefill([token])
                np.testing.assert_array_equal(session.logits, expected)
            session.rewind(17)
            session.prefill(TOKENS[17:30])
            np.testing.assert_array_equal(session.logits, logits[29])


def test_forked_and_slid(model: Model, tmp_path: Path) -> None:
    """A copy, and a saved state, of a context that slid go on with the bits of the first; in a batch too."""
    with (
        model.session(context=32, sinks=4) as first,
        model.session(context=32, sinks=4) as forked,
        model.session(context=32, sinks=4) as restored,
        model.batch(max_sessions=2) as batch,
    ):
        first.prefill(TOKENS)
        assert first.position < len(TOKENS)
        forked.copy_from(first, first.position)
        first.save(tmp_path / "state")
        restored.restore(tmp_path / "state")
        for token in range(20):  # it slides again
            first.prefill([token])
            assert batch.step([forked, restored], [token, token]) == [None, None]
            for other in (forked, restored):
                np.testing.assert_array_equal(other.logits, first.logits)
                assert other.tokens == first.tokens


@pytest.mark.parametrize(
    ("window", "scales"),
    [
        pytest.param(1, EVEN, id="full"),  # what the full layer reads depends on nothing but the token
        pytest.param(8, EVEN | {"1.self_attn.o_proj.weight": 0.0}, id="sliding"),  # the full layer adds nothing
    ],
)
def test_a_slide_turns_keys_by_the_pairs_of_their_layer(tmp_path: Path, window: int, scales: dict[str, float]) -> None:
    """Tokens that are gone have left nothing behind, so that what slid is as what is computed in its place."""
    kinds = ["sliding_attention", "full_attention"]
    own = {"num_hidden_layers": 2, "layer_types": kinds, "num_kv_shared_layers": 0, "sliding_window": window}
    out = pack(written(tmp_path / "s", scales, **own), tmp_path / "dense.rbe", PackOptions(bits=32)).path
    with Model.open(out) as model, model.session(context=40, sinks=1, kv="f32", pass_tokens=8) as slid:
        slid.prefill(TOKENS)
        held = list(slid.tokens)
        assert 16 < len(held) < len(TOKENS)
        with model.session(context=40, kv="f32") as fresh:
            fresh.prefill(held)
            np.testing.assert_allclose(slid.logits, fresh.logits, atol=2e-4)


def test_as_its_dense_reconstruction(source: Path, coded: Path, tmp_path: Path) -> None:
    """The packed model and one of fp32 weights that are what its codes say predict nearly the same: what is left is
    the rounding of activations."""
    plan = plan_model(open_source(source))
    with Model.open(coded) as model:
        with model.session(kv="f32") as session:
            packed = session.score(TOKENS, logits=True).logits
        copy = make(tmp_path / "copy.rbe", plan, {"parameters": 1, **plan.metadata}, {}, Forecast(None, RATES))
        for name in copy.areas:
            copy.write(name, model.tensor_rows(name))
    with Model.open(copy.path, verify=False) as dense, dense.session(kv="f32") as session:
        expected = session.score(TOKENS, logits=True).logits
    assert packed is not None and expected is not None
    assert np.sqrt(np.mean((packed - expected) ** 2)) < 0.04 * expected.std()  # of other tiny models 0.02 to 0.03


def test_what_a_token_reads(model: Model) -> None:
    """One row of the table, as of the embedding."""
    table = model.tensors["layer_embedding"]
    others = sum(
        tensor.data_bytes
        for name, tensor in model.tensors.items()
        if tensor.kind == "trellis" and name not in ("layer_embedding", "embedding")
    )
    embedding = model.tensors["embedding"]
    looked_up = table.data_bytes // table.rows + embedding.data_bytes // embedding.rows
    assert abs(model.read_bytes() - (others + embedding.data_bytes + looked_up)) < 0.01 * others


def test_under_a_limit(tmp_path: Path) -> None:
    """The table is at the end of the file, so that a limit pins what every token reads, and counts as what may stay on
    the disk. The bits are the same."""
    source = written(tmp_path / "source", {}, hidden_size_per_layer_input=2048)
    out = pack(source, tmp_path / "large.rbe", PackOptions(bits=32)).path
    table = read_index(out).tensors["layer_embedding"]
    with Model.open(out) as whole, whole.session() as session:
        session.prefill(TOKENS)
        expected = session.logits
    limit = out.stat().st_size - table.n_bytes + (4 << 20)
    found = fit.estimate(out, fit.Wish(max_memory=limit))
    assert found.weights_on_disk > table.n_bytes - (4 << 20)
    with Model.open(out, max_memory=limit) as model, model.session() as session:
        assert model.memory.resident_limit == limit
        assert model.memory.resident_pinned < table.offset
        session.prefill(TOKENS)
        np.testing.assert_array_equal(session.logits, expected)


def test_vectors_of_texts(model: Model) -> None:
    """An encoder has the memory of one layer for all of them, and says so; a session's states make a vector."""
    with pytest.raises(OptionError, match="layers of several shapes"):
        model.embed(["the cat"], pooling="mean")
    with model.session() as session:
        vector = session.embedding("the cat")
    assert vector.shape == (64,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


# ---- files that say something wrong ----


BOTH = [LAYER_SHAPES, LAYER_EMBEDDINGS]


@pytest.mark.parametrize(
    ("message", "metadata", "parts"),
    [
        ("lacks that", {}, [LAYER_SHAPES]),
        ("lacks that", {}, [LAYER_EMBEDDINGS]),
        ("`layer.head_dims` is no array of 6", {"layer.head_dims": (24,)}, BOTH),
        ("`layer.head_dims` is no array of 6", {"layer.head_dims": 24}, BOTH),
        ("`layer.head_dims`: 49 for layer 1 is more than 48", {"layer.head_dims": (24, 49, 24, 48, 24, 48)}, BOTH),
        ("`layer.head_dims`: 0 for layer 0 is less than 1", {"layer.head_dims": (0, 48, 24, 48, 24, 48)}, BOTH),
        ("has different heads|have different heads", {"layer.head_dims": (24, 48, 24, 48, 24, 24)}, BOTH),
        ("`layer.kv_heads`: 2 for layer 0 is more than 1", {"layer.kv_heads": (2, 1, 1, 1, 1, 1)}, BOTH),
        ("3 of layer 0 do not divide", {"kv_heads": 4, "layer.kv_heads": (3, 1, 1, 1, 1, 1)}, BOTH),
        ("`layer.feed_forwards`: 193", {"layer.feed_forwards": (96, 96, 96, 193, 192, 192)}, BOTH),
        ("tensor `layers.0.feed_forward.gate` is 96 x 64", {"layer.feed_forwards": (95, 96, 96, 192, 192, 192)}, BOTH),
        ("layer 3 reads layer 4", {"layer.shared_states": (0, 1, 2, 4, 2, 1)}, BOTH),
        ("layer 5 reads layer 3, which keeps none", {"layer.shared_states": (0, 1, 2, 1, 2, 3)}, BOTH),
        ("tensor `layers.3.attention.k` is missing", {"layer.shared_states": (0, 1, 2, 3, 2, 1)}, BOTH),
        ("`layer.values_are_keys`: 2", {"layer.values_are_keys": (2, 0, 0, 0, 0, 0)}, BOTH),
        ("`attention.value_norm` is 2", {"attention.value_norm": 2}, BOTH),
        ("`layer_embedding.width` is 0", {"layer_embedding.width": 0}, BOTH),
        ("`layer_embedding.width` is 1048577", {"layer_embedding.width": 2**20 + 1}, BOTH),
        ("tensor `layers.0.layer_embedding.gate` is 32 x 64", {"layer_embedding.width": 31}, BOTH),
        ("`layer_embedding.scale` is no number", {"layer_embedding.scale": -1.0}, BOTH),
        ("ask for none", {"layer_embedding.width": None}, BOTH),
        ("layers 3 and 1 are not both attention", {"layer.kinds": (0, 0, 0, 1, 0, 0), "convolution.taps": 3}, BOTH),
        ("layers 3 and 1 are not both attention", {"layer.kinds": (0, 1, 0, 0, 0, 0), "convolution.taps": 3}, BOTH),
        ("norms behind rotary positions", {"attention.norm_after_rope": 1}, BOTH),
        ("beside blocks side by side", {"norm.place": "pre", "layer.parallel": 1}, BOTH),
    ],
)
def test_refused(source: Path, tmp_path: Path, message: str, metadata: dict[str, Any], parts: list[Part]) -> None:
    out = write_changed(source, tmp_path / "wrong.rbe", metadata, parts)
    with pytest.raises(ModelError, match=message) as caught:
        Model.open(out)
    assert "\n" not in str(caught.value)


def test_the_unchanged_file_opens(source: Path, tmp_path: Path) -> None:
    with Model.open(write_changed(source, tmp_path / "right.rbe", {}, BOTH)) as model:
        assert model.parts.keys() == {"layer_shapes", "layer_embeddings"}
        assert model.stream_width == 64 + 6 * 32 + 2 * (24 + 48)


def test_short_convolutions_beside_states_of_their_own(tmp_path: Path) -> None:
    """Layers that begin with no attention keep no keys that others could read, and change nothing for those that do."""
    source = tiny_models.write(tiny_models.MODELS["lfm2"], tmp_path / "lfm2")
    plain = write_changed(source, tmp_path / "plain.rbe", {}, [LAYER_KINDS])
    own = {"layer.shared_states": (0, 1, 2, 3), "attention.value_norm": 0}
    shaped = write_changed(source, tmp_path / "shaped.rbe", own, [LAYER_KINDS, LAYER_SHAPES])
    with Model.open(plain) as one, Model.open(shaped) as other, one.session() as first, other.session() as second:
        assert one.stream_width == other.stream_width == one.info.width
        first.prefill(TOKENS)
        second.prefill(TOKENS)
        assert first.logits.tobytes() == second.logits.tobytes()


def test_a_plain_file_has_no_such_part(tiny_model: Path, tmp_path: Path) -> None:
    index = read_index(tiny_model)
    assert not index.metadata.get("layer.head_dims")
    llama = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "llama")
    for part in BOTH:
        with pytest.raises(ModelError, match="ask for none"):
            Model.open(write_changed(llama, tmp_path / f"{part.name}.rbe", {}, [part]))


def test_the_only_ternary_matrix_makes_layer_inputs(source: Path, tmp_path: Path) -> None:
    """It reads its activation in int8 as such matrices in layers do."""
    name, code = "layer_embedding.projection", Code(False, 0, 0.125)
    plan = plan_model(open_source(source))
    values = {tensor.name: tensor.read() for tensor in plan.tensors}
    values[name] = np.sign(values[name]) * np.float32(0.125)
    found = []
    for kind in (writer.KIND_FP32, writer.KIND_TERNARY):
        data = {key: array.astype("<f4").tobytes() for key, array in values.items()}
        kinds = dict.fromkeys(values, (writer.KIND_FP32, b""))
        parts = BOTH
        if kind == writer.KIND_TERNARY:
            data[name] = grouped.encode(values[name], code)
            kinds[name] = kind, struct.pack("<If", code.group, code.tensor_scale)
            parts = [*BOTH, TERNARY]
        entries = [
            writer.TensorEntry(key, kinds[key][0], *array.shape, len(data[key]), own=kinds[key][1])
            for key, array in values.items()
        ]
        metadata = {"parameters": 1, **plan.metadata}
        with writer.PackWriter(tmp_path / f"{kind}.rbe", metadata, [], {}, entries, parts=parts) as file:
            for piece in data.values():
                file.write_tensor([piece], 0.0)
            file.commit(lasting=False)
        with Model.open(tmp_path / f"{kind}.rbe") as model, model.session(kv="f32", threads=1) as session:
            found.append(session.score(TOKENS, logits=True).logits)
    exact, rounded = found
    assert exact is not None and rounded is not None
    assert 0 < np.sqrt(np.mean((exact - rounded) ** 2)) < 0.04 * exact.std()


def test_random_bytes_in_the_index(source: Path, tmp_path: Path) -> None:
    """With a checksum that is right: one line of error, of every kind, or a model that reads tokens."""
    good = write_changed(source, tmp_path / "good.rbe", {}, BOTH).read_bytes()
    rng, bad = np.random.default_rng(1), tmp_path / "bad.rbe"
    size = int.from_bytes(good[24:32], "little")
    refused, opened = set(), 0
    for number in range(400):
        data = bytearray(good)
        data[int(rng.integers(64, size))] = int(rng.integers(256))
        mend_index(data)
        bad.write_bytes(data)
        try:
            with Model.open(bad, verify=False) as model, model.session(context=16, threads=1) as session:
                session.prefill(TOKENS[:12])
            opened += 1
        except RbeError as error:
            assert "\n" not in str(error), number
            refused.add(str(error).removeprefix(str(bad)))
    assert opened > 20 and len(refused) > 100 and not any("index_checksum" in message for message in refused)
