"""Files of layers of several kinds: what is refused by name, numbers of 16 bits, what a step reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from changed_files import NOTHING, Tensors, write_changed
from fixed_planes import fixed_planes

from rbe_edge import Model
from rbe_edge.errors import ModelError, OptionError
from rbe_edge.format.encoder import LAYER_KINDS, PART
from rbe_edge.format.parts import Part
from rbe_edge.format.writer import KIND_BF16, KIND_FP16, PackWriter
from rbe_edge.packing import storage
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.encoder import Encoder
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS["lfm2_bias"], tmp_path_factory.mktemp("source") / "lfm2")


OPTIONAL = dataclasses.replace(LAYER_KINDS, required=False)
LATER = dataclasses.replace(LAYER_KINDS, version=2)


@pytest.mark.parametrize(
    ("metadata", "tensors", "parts", "said"),
    [
        ({}, {}, [], "lacks the part `layer_kinds`"),
        ({}, {}, [OPTIONAL], "lacks the part `layer_kinds`"),
        ({}, {}, [LATER], "layer_kinds"),
        ({"layer.kinds": None, "convolution.taps": None}, {}, [LAYER_KINDS], "`layer.kinds` are missing"),
        ({"layer.kinds": None}, {}, [LAYER_KINDS], "belong together"),
        ({"convolution.taps": None}, {}, [LAYER_KINDS], "belong together"),
        ({"layer.kinds": (0, 0, 0, 0)}, {}, [LAYER_KINDS], "belong together"),
        ({"layer.kinds": (0, 0, 0, 0), "convolution.taps": None}, {}, [LAYER_KINDS], "layers.0.attention.norm"),
        ({"layer.kinds": (1, 1, 1, 0)}, {}, [LAYER_KINDS], "layers.1.convolution.norm"),
        ({"layer.kinds": (1, 0, 2, 0)}, {}, [LAYER_KINDS], "recurrence.key_heads"),
        ({"layer.kinds": (3, 0, 1, 0)}, {}, [LAYER_KINDS], "recurrence.key_heads"),
        ({"recurrence.taps": 3}, {}, [LAYER_KINDS], "recurrence.taps"),
        ({"layer.kinds": (4, 0, 1, 0)}, {}, [LAYER_KINDS], "layer.kinds"),
        ({"layer.kinds": (2**40, 0, 1, 0)}, {}, [LAYER_KINDS], "layer.kinds"),
        ({"layer.kinds": (1, 0, 1)}, {}, [LAYER_KINDS], "no array of 4 numbers"),
        ({"layer.kinds": 1}, {}, [LAYER_KINDS], "no array of 4 numbers"),
        ({"layer.kinds": "1010"}, {}, [LAYER_KINDS], "no array of 4 numbers"),
        ({"recurrence.epsilon": 1e-5}, {}, [LAYER_KINDS], "without layers of delta nets or state spaces"),
        ({"convolution.taps": 0}, {}, [LAYER_KINDS], "convolution.taps"),
        ({"convolution.taps": 33}, {}, [LAYER_KINDS], "convolution.taps"),
        ({"convolution.taps": 4}, {}, [LAYER_KINDS], "make it 64 x 4"),
        ({"attention.direction": "both"}, {}, [PART, LAYER_KINDS], "an encoder"),
        ({}, {"layers.0.convolution.taps": NOTHING}, [LAYER_KINDS], "layers.0.convolution.taps"),
        ({}, {"layers.2.convolution.in": np.zeros((64, 64), np.float32)}, [LAYER_KINDS], "make it 192 x 64"),
        ({}, {"layers.2.convolution.out": NOTHING}, [LAYER_KINDS], "layers.2.convolution.out"),
        ({}, {"layers.0.convolution.taps.bias": np.zeros((1, 3), np.float32)}, [LAYER_KINDS], "make it 1 x 64"),
    ],
)
def test_damaged_files(
    directory: Path, tmp_path: Path, metadata: dict[str, Any], tensors: Tensors, parts: list[Part], said: str
) -> None:
    path = write_changed(directory, tmp_path / "m.rbe", metadata, parts, tensors)
    with pytest.raises(ModelError, match=said) as caught:
        Model.open(path)
    assert "\n" not in str(caught.value)


def test_taps_are_no_trellis(tmp_path: Path) -> None:
    """No packer stores them so; a file that does is refused."""
    wide = dataclasses.replace(
        tiny_models.MODELS["lfm2"], config={**tiny_models.MODELS["lfm2"].config, "conv_L_cache": 32}
    )
    plan = plan_model(open_source(tiny_models.write(wide, tmp_path / "source")))
    changed = [dataclasses.replace(one, role="matrix") if one.role == "taps" else one for one in plan.tensors]
    stores = [storage.in_planes(one, (2,)) if one.role == "matrix" else storage.dense(one, 32) for one in changed]
    assert all(store is not None for store in stores)
    books, entries = storage.described(changed, stores, lambda one: 7)  # type: ignore[arg-type]
    with PackWriter(tmp_path / "m.rbe", dict(plan.metadata), books, {}, entries, parts=[LAYER_KINDS]) as file:
        for entry in entries:
            file.write_tensor([np.zeros(entry.n_bytes, np.uint8)], 0.0)
        file.commit()
    with pytest.raises(ModelError, match=r"layers.0.convolution.taps. is neither fp32 nor of 16 bits"):
        Model.open(tmp_path / "m.rbe")


def logits_of(path: Path) -> npt.NDArray[np.float32]:
    with Model.open(path) as model, model.session(kv="f32", threads=1) as session:
        found = session.score(TOKENS, logits=True).logits
    assert found is not None
    return found


@pytest.mark.parametrize("kind", [KIND_FP16, KIND_BF16])
def test_taps_of_16_bits(directory: Path, tmp_path: Path, kind: int) -> None:
    """They are the numbers that they say."""
    plan = plan_model(open_source(directory))
    taps = {one.name: one.read() for one in plan.tensors if one.role == "taps"}
    if kind == KIND_FP16:
        rounded = {name: values.astype(np.float16).astype(np.float32) for name, values in taps.items()}
    else:
        rounded = {name: (values.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, values in taps.items()}
    short = write_changed(directory, tmp_path / "short.rbe", {}, [LAYER_KINDS], rounded, {".taps": kind})
    whole = write_changed(directory, tmp_path / "whole.rbe", {}, [LAYER_KINDS], rounded)
    np.testing.assert_array_equal(logits_of(short), logits_of(whole))
    assert not np.array_equal(logits_of(whole), logits_of(write_changed(directory, short, {}, [LAYER_KINDS])))


def test_a_single_tap_and_layers_without_attention(tmp_path: Path) -> None:
    """The least that there can be: nothing is kept between positions."""
    tiny = tiny_models.MODELS["lfm2_new"]
    alone = dataclasses.replace(tiny, config={**tiny.config, "conv_L_cache": 1, "layer_types": ["conv"] * 4})
    source = tiny_models.write(alone, tmp_path / "source")
    path = pack(source, tmp_path / "m.rbe", PackOptions(bits=32)).path
    whole = logits_of(path)
    with Model.open(path) as model, model.session(threads=1) as session:
        for token, expected in zip(TOKENS, whole, strict=True):
            session.rewind(0)
            session.prefill([token])
            np.testing.assert_allclose(session.logits, expected, atol=1e-5)


def test_texts_are_not_encoded(directory: Path, tmp_path: Path) -> None:
    """An encoder has the memory of one layer for all of them; a session's states make a vector."""
    with Model.open(write_changed(directory, tmp_path / "m.rbe", {}, [LAYER_KINDS])) as model:
        with pytest.raises(OptionError, match="of several shapes or kinds"), Encoder(model) as encoder:
            encoder.hidden([TOKENS])
        with model.session() as session:
            session.prefill(TOKENS)
            assert np.isfinite(session.logits).all()


def test_what_a_step_reads(tmp_path: Path) -> None:
    """A convolution that is left out still reads the matrix whose result it keeps."""
    source = tiny_models.write(tiny_models.MODELS["lfm2"], tmp_path / "source")
    with fixed_planes((4, 2), (4,)):
        path = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none")).path
    rest = (0, 0, 0)
    with Model.open(path) as model:
        tensors = {name: model.tensors[f"layers.0.convolution.{name}"].data_bytes for name in ("in", "taps", "out")}
        whole = model.read_bytes(Effort())
        without = model.read_bytes(Effort(attention=(SKIP, *rest), feed_forward=(0, *rest)))
        fewer = model.read_bytes(Effort(attention=(1, *rest), feed_forward=(0, *rest)))
        assert tensors["taps"] == 64 * 3 * 4
        assert without == pytest.approx(whole - tensors["out"] - tensors["taps"], abs=64 * 8)
        assert fewer < whole - (tensors["in"] + tensors["out"]) / 4
        with model.session(profile=True) as session:
            session.prefill(TOKENS)
            calls = {entry.operation: entry.calls for entry in session.profile}
        steps = ("convolution gates", "short convolution", "convolution output")
        assert [calls[step] for step in steps] == [2, 2, 2] and calls["attention"] == 2
