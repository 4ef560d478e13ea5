"""Encoders are calibrated on whole texts, and measured by what they give in the end."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
from tiny_encoders import CLS, CONTEXT, ENCODERS, SEP

from rbe_edge import Model
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing import encoder_sensitivity, encoder_texts, sensitivity
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.calibration import read_text
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.encoder_held_out import HeldOutDistance
from rbe_edge.packing.encoder_sensitivity import EncoderMeasurement
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.held_out import HeldOutKl
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.packing.schedule import RATES
from rbe_edge.packing.survey import Survey
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

FEW = dataclasses.replace(EFFORTS["normal"], tokens=1024)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoders.write(ENCODERS["sentence_dense"], tmp_path_factory.mktemp("tiny") / "source")


@pytest.fixture(scope="module")
def dense(source: Path) -> PackReport:
    return pack(source, source.parent / "dense.rbe", PackOptions(bits=32))


def test_sentences_and_passages() -> None:
    text = "One is here. Two is there!\n\nThree\n" + "x" * 900 + "\nFour."
    assert encoder_texts.sentences(text) == ["One is here.", "Two is there!", "Three", "x" * 900, "Four."]
    assert encoder_texts.passages(text) == ["One is here. Two is there! Three", "x" * 900, "Four."]
    assert encoder_texts.sentences("\u4f60\u597d\u3002\u518d\u89c1\u3002") == [
        "\u4f60\u597d\u3002",
        "\u518d\u89c1\u3002",
    ]


def test_texts_are_whole(dense: PackReport) -> None:
    with Model.open(dense.path) as model:
        windows = encoder_texts.encoder_windows(model, read_text(None), FEW)
        again = encoder_texts.encoder_windows(model, read_text(None), FEW)
        with pytest.raises(PackError, match=r"the calibration text has .* tokens; give one of at least 512"):
            encoder_texts.encoder_windows(model, "The er was in it.", FEW)
    assert windows == again
    for window in [*windows.seen, *windows.unseen]:
        assert window[0] == CLS and window[-1] == SEP and 4 <= len(window) <= CONTEXT
    assert 1024 <= sum(map(len, windows.seen)) <= 1024 + 2 * CONTEXT
    assert len(windows.unseen) > 100


def test_an_encoder_of_tokens_reads_passages_too(tmp_path: Path) -> None:
    """They are longer than the context here, and keep their last token."""
    source = tiny_encoders.write(ENCODERS["bert_masked"], tmp_path / "source")
    with Model.open(pack(source, tmp_path / "m.rbe", PackOptions(bits=32)).path) as model:
        windows = encoder_texts.encoder_windows(model, read_text(None), FEW)
    assert 1024 <= sum(map(len, windows.seen)) <= 1024 + 2 * CONTEXT
    assert sum(len(window) == CONTEXT for window in windows.seen) >= 1024 // 2 // CONTEXT
    assert all(window[0] == CLS and window[-1] == SEP for window in windows.seen)


def test_it_is_the_distance_of_the_whole_model(source: Path, dense: PackReport, tmp_path: Path) -> None:
    """Of every matrix of a layer; the copy is as before."""
    shutil.copy(dense.path, tmp_path / "copy.rbe")
    copy = DenseCopy(tmp_path / "copy.rbe", dense.areas)
    before = copy.path.read_bytes()
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    with Model.open(copy.path, verify=False) as model:
        windows = encoder_texts.encoder_windows(model, read_text(None), FEW).unseen[:20]
    looked = Survey(copy, tensors, windows, lambda tensor: 7, None, Forecast(None, RATES))
    measurement = EncoderMeasurement(copy, tensors, windows, lambda tensor: 7, looked.factor, "mean", False)
    found = encoder_sensitivity.measured(measurement, Forecast(None, RATES))
    assert copy.path.read_bytes() == before
    assert set(found) == {tensor.name for tensor in tensors} and min(found.values()) > 0

    def vectors() -> np.ndarray:
        with Model.open(copy.path, verify=False) as model, model.encoder() as encoder:
            return np.stack([hidden.mean(axis=0) for hidden in encoder.hidden(windows)])

    exact = vectors()
    for name in ("layers.0.attention.v", "layers.1.feed_forward.down"):
        (tensor,) = (tensor for tensor in tensors if tensor.name == name)
        encoded = trellis.encode(tensor.read(), sensitivity.PROBE, 7, None, None, looked.factor(name))
        assert encoded.decoded is not None
        copy.write(name, encoded.decoded)
        other = vectors()
        copy.write(name, tensor.read())
        cosines = (exact * other).sum(1) / np.sqrt((exact**2).sum(1) * (other**2).sum(1))
        assert found[name] * GAUSSIAN_ERROR[sensitivity.PROBE] == pytest.approx((1 - cosines).mean(), rel=0.02), name


def test_a_sentence_encoder(source: Path, tmp_path: Path) -> None:
    reports = [
        pack(source, tmp_path / f"{threads}.rbe", PackOptions(bits=7, threads=threads), None) for threads in (1, 2)
    ]
    assert reports[0].path.read_bytes() == reports[1].path.read_bytes()
    held_out = reports[0].held_out
    assert isinstance(held_out, HeldOutDistance)
    assert (held_out.of, held_out.text, held_out.n) == ("pooled vectors", "the calibration text", 64)
    assert 0 < held_out.distance < 0.05
    pooled = next(tensor for tensor in reports[0].tensors if tensor.name == "pooled.0")
    assert pooled.kind == "fp16"
    quick = pack(source, tmp_path / "quick.rbe", PackOptions(bits=7, effort="quick"))
    assert isinstance(quick.held_out, HeldOutDistance) and quick.held_out.distance < 0.1


@pytest.mark.parametrize(
    ("name", "kind", "of"),
    [
        ("bert_masked", HeldOutKl, "masked words"),
        ("modernbert_classes", HeldOutKl, "texts"),
        ("bert_score", HeldOutKl, "texts"),
        ("bert", HeldOutDistance, "hidden states"),
    ],
)
def test_what_a_file_is_measured_by(tmp_path: Path, name: str, kind: type, of: str) -> None:
    source = tiny_encoders.write(ENCODERS[name], tmp_path / "source")
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=8, effort="quick"))
    assert isinstance(report.held_out, kind)
    assert report.held_out is not None and report.held_out.of == of and report.held_out.n >= 64


def test_pairs_of_roberta(tmp_path: Path) -> None:
    """Two separators stand between the texts of a pair, one is behind them; BERT's template says nothing new."""
    directory = tiny_encoders.write(ENCODERS["roberta_classes"], tmp_path / "source")
    path = directory / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    pack(directory, tmp_path / "plain.rbe", PackOptions(bits=32))
    document["post_processor"]["pair"].insert(3, {"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    path.write_text(json.dumps(document), encoding="utf-8")
    pack(directory, tmp_path / "doubled.rbe", PackOptions(bits=32))
    with Model.open(tmp_path / "plain.rbe") as model:
        assert model.encoder_info.between is None
    with Model.open(tmp_path / "doubled.rbe") as model, model.encoder() as encoder:
        assert model.encoder_info.between == (SEP, SEP)
        (text,) = encoder.read([("the", "was")])
        assert text.tokens.count(SEP) == 3 and text.tokens[-1] == SEP
