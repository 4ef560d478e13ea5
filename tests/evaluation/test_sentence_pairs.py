"""Sentence encoders beside their source, on pairs of sentences and on a text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
from tiny_encoders import ENCODERS

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.evaluation.glue_file import GlueExample
from rbe_edge.evaluation.scores import spearman
from rbe_edge.evaluation.sentence_pairs import beside, scores, vectors
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.progress import Progress

TEXTS = ["the er was in it", "a b c", "they have not", "she was by the", "you be", "on that", "we or he", "it is for"]
PAIRS = [GlueExample((TEXTS[i], TEXTS[-1 - i]), (3 * i) % 5) for i in range(8)]


def packed(name: str, directory: Path, bits: float = 32) -> Path:
    source = tiny_encoders.write(ENCODERS[name], directory / name)
    return pack(source, directory / f"{name}-{bits:g}.rbe", PackOptions(bits=bits, calibrate="none")).path


def test_scores_are_of_cosines(tmp_path: Path) -> None:
    with Model.open(packed("sentence_cls", tmp_path)) as model:
        found = vectors(model, PAIRS, Progress())
        embedded = model.embed([text for pair in zip(*(one.texts for one in PAIRS), strict=True) for text in pair])
    assert found.shape == (16, 64) and np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    np.testing.assert_allclose(found, embedded, atol=1e-6)
    cosines = [float(found[i] @ found[8 + i]) for i in range(8)]
    expected = 100 * spearman(cosines, [pair.answer for pair in PAIRS])
    assert scores(found, PAIRS).spearman == pytest.approx(expected) and scores(found, PAIRS).n == 8


def test_beside_the_source() -> None:
    pairs = [GlueExample(("a", "b"), 0.0), GlueExample(("c", "d"), 5.0)]
    source = np.eye(4, dtype=np.float32)
    turned = np.array(source)
    turned[0] = [0.6, 0.8, 0, 0]
    both = beside(turned, source, pairs)
    assert both.distance == pytest.approx(0.1) and both.p99 > 0.38 and both.error == pytest.approx(0.1)
    with pytest.raises(OptionError, match="the vectors have 4 numbers, those of the source 2"):
        beside(source, source[:, :2], pairs)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact, small = packed("sentence_mean", tmp_path), packed("sentence_mean", tmp_path, 7)
    table = tmp_path / "pairs.tsv"
    lines = [f"{pair.texts[0]}\t{pair.texts[1]}\t{pair.answer}" for pair in PAIRS]
    table.write_text("\n".join(["sentence1\tsentence2\tscore", *lines]), encoding="utf-8")
    assert main(["eval", str(small), "--sts", str(table), "--source", str(exact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 8 and 0 < found["cosine_distance"] < 0.05
    assert main(["eval", str(exact), "--sts", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spearman"] == pytest.approx(found["source_spearman"])
    assert main(["eval", str(exact), "--sts", str(table), "--window", "8"]) == 2
    assert "are not for --sts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "measure", "of"),
    [
        ("bert_masked", "kl", "masked_words"),
        ("bert_classes", "kl", "texts"),
        ("bert", "cosine_distance", "hidden_states"),
    ],
)
def test_what_an_encoder_gives_for_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, measure: str, of: str
) -> None:
    exact, small = packed(name, tmp_path), packed(name, tmp_path, 8)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS), encoding="utf-8")
    assert main(["eval", str(small), "--text", str(text), "--source", str(exact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["paragraphs"] == 8 and found[of] >= 6 and found[measure] > 0
    assert main(["eval", str(exact), "--text", str(text)]) != 0
    assert "give --source SRC, or --sts FILE" in capsys.readouterr().err
