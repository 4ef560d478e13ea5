"""Encoders are calibrated on whole texts, and measured by what they give in the end."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_encoder_decoders
import tiny_encoders
from tiny_encoders import CLS, CONTEXT, ENCODERS, SEP

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.packing import encoder_texts, sensitivity
from rbe_edge.packing.calibration import read_text
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.encoder_held_out import HeldOutDistance
from rbe_edge.packing.encoder_loss import EncoderLoss
from rbe_edge.packing.held_out import HeldOutKl
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.runtime.probabilities import divergences, log_softmax
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
    assert 2048 <= sum(map(len, windows.seen)) <= 2048 + 2 * CONTEXT
    assert len(windows.unseen) > 100


def test_an_encoder_of_tokens_reads_passages_too(tmp_path: Path) -> None:
    """They are longer than the context here, and keep their last token."""
    source = tiny_encoders.write(ENCODERS["bert_masked"], tmp_path / "source")
    with Model.open(pack(source, tmp_path / "m.rbe", PackOptions(bits=32)).path) as model:
        windows = encoder_texts.encoder_windows(model, read_text(None), FEW)
    assert 2048 <= sum(map(len, windows.seen)) <= 2048 + 2 * CONTEXT
    assert sum(len(window) == CONTEXT for window in windows.seen) >= 1024 // 2 // CONTEXT
    assert all(window[0] == CLS and window[-1] == SEP for window in windows.seen)


def written(name: str, directory: Path) -> Path:
    if name in tiny_encoder_decoders.ENCODER_DECODERS:
        return tiny_encoder_decoders.write(tiny_encoder_decoders.ENCODER_DECODERS[name], directory)
    return tiny_encoders.write(ENCODERS[name], directory)


def outputs(path: Path, texts: list[list[int]], kind: str) -> np.ndarray:
    with Model.open(path, verify=False) as model, model.encoder(threads=1) as encoder:
        if kind == "words":
            found = np.concatenate([encoder.word_logits(text, range(len(text))) for text in texts])
            return np.asarray(log_softmax(found))
        if kind == "classes":
            return np.asarray(log_softmax(encoder.pooled(texts)))
        return encoder.pooled(texts) if kind == "vectors" else np.concatenate(encoder.hidden(texts))


def cost(kind: str, exact: np.ndarray, found: np.ndarray) -> float:
    if kind in ("words", "classes"):
        return float(divergences(exact, found).mean())
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    return float((1 - (exact * found).sum(axis=1) / lengths).mean())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sentence_dense", "vectors"),
        ("sentence_max", "vectors"),
        ("sentence_last", "vectors"),
        ("modernbert_classes", "classes"),
        ("roberta_masked", "words"),
        ("bert", "hidden states"),
        ("t5_encoder", "hidden states"),
    ],
)
def test_curvature_foretells_what_white_errors_cost(name: str, kind: str, tmp_path: Path) -> None:
    source = written(name, tmp_path / "source")
    report = pack(source, tmp_path / "copy.rbe", PackOptions(bits=32))
    copy = DenseCopy(report.path, report.areas)
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    with Model.open(copy.path) as model:
        texts = [list(text) for text in encoder_texts.encoder_windows(model, read_text(None), FEW).seen[:60]]
    curvature = Curvature(copy, tensors, texts, lambda tensor: 7, loss_of=partial(EncoderLoss, copy=copy))
    exact = outputs(copy.path, texts, kind)
    chosen = ("embedding", "layers.0.attention.v", "layers.0.feed_forward.up", "layers.1.attention.o", "head.dense")
    measurable = [tensor for tensor in tensors if tensor.name in chosen]
    assert len(measurable) >= 4
    for tensor in measurable:
        values, size, measured = tensor.read(), 0.02, []
        sizes = np.linalg.norm(values, axis=1, keepdims=True) / np.sqrt(values.shape[1])
        for seed in range(6):
            noise = np.random.default_rng(seed).standard_normal(values.shape)
            copy.write(tensor.name, values + (size * sizes * noise).astype(np.float32))
            measured.append(cost(kind, exact, outputs(copy.path, texts, kind)) / size**2)
        copy.write(tensor.name, values)
        # of white errors all of H counts, where feedback leaves less of it
        foretold = curvature.sensitivities[tensor.name]
        factor = curvature.factor(tensor.name)
        assert factor is not None
        whole = trace_of(factor, tensor.cols, EncoderLoss.damping) / (2 * curvature_units(kind, texts))
        assert whole == pytest.approx(np.mean(measured), rel=0.35), tensor.name
        assert 0 < foretold < 1.1 * (1 + EncoderLoss.damping) * whole, tensor.name


def trace_of(factor: np.ndarray, cols: int, damping: float) -> float:
    """Of H, whose inverse, damped, is U^T U."""
    upper = factor[:cols, :cols].astype(np.float64)
    return float(np.trace(np.linalg.inv(upper.T @ upper))) / (1 + damping)


def curvature_units(kind: str, texts: list[list[int]]) -> float:
    return 1.0 if kind in ("vectors", "classes") else sum(map(len, texts)) / len(texts)


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


@pytest.mark.parametrize(
    ("name", "predicted"),
    [
        ("sentence_dense", r"Predicted distance to the source: 0\.\d+ \(cosine distance\)"),
        ("bert_score", r"Predicted distance to the source: 0\.\d+ \(nats per text\)"),
        ("bert_masked", r"Predicted KL divergence to the source: 0\.\d+ nats per token"),
    ],
)
def test_a_report_says_what_losses_are(tmp_path: Path, name: str, predicted: str) -> None:
    source = tiny_encoders.write(ENCODERS[name], tmp_path / "source")
    for effort, expected in (("normal", predicted), ("quick", "Nothing was measured")):
        pack(source, tmp_path / "m.rbe", PackOptions(7, effort=effort, force=True, report=tmp_path / "r"))
        assert re.search(expected, (tmp_path / "r.md").read_text(encoding="utf-8")), effort


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
