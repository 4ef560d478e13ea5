"""GLUE: the scores by hand and beside scikit-learn and SciPy, the files as they are published, and both heads."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbe_edge.errors import OptionError
from rbe_edge.evaluation import scores
from rbe_edge.evaluation.glue import FittedHead, Text, answers_by_cosine, answers_of_head, class_order, measured
from rbe_edge.evaluation.glue_file import TASKS, GlueExample, read_glue, task_named
from rbe_edge.progress import Progress

# ---- scores ----


def test_scores_by_hand() -> None:
    given, right = [1, 1, 0, 0, 1], [1, 0, 0, 1, 1]  # hits 1: two, given 1: three, right 1: three
    assert scores.accuracy(given, right) == 3 / 5
    assert scores.f1(given, right) == pytest.approx(2 / 3)
    # (2 x 1 - 1 x 1) / sqrt(3 x 3 x 2 x 2)
    assert scores.matthews(given, right) == pytest.approx(1 / 6)
    assert scores.matthews([1, 1, 1], [1, 0, 1]) == 0 and scores.f1([0, 0], [0, 0]) == 0
    assert scores.pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert scores.pearson([1, 2, 3], [5, 5, 5]) == 0
    assert scores.spearman([1, 10, 100], [3, 4, 5]) == pytest.approx(1)
    # ranks 1.5, 1.5, 3 and 3, 2, 1: covariance -1.5, variances 1.5 and 2
    assert scores.spearman([7, 7, 9], [30, 20, 10]) == pytest.approx(-1.5 / math.sqrt(1.5 * 2))


def test_scores_beside_scikit_learn_and_scipy() -> None:
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    for classes in (2, 3):
        given, right = rng.integers(0, classes, 97).tolist(), rng.integers(0, classes, 97).tolist()
        assert scores.matthews(given, right) == pytest.approx(metrics.matthews_corrcoef(right, given), abs=1e-12)
        assert scores.accuracy(given, right) == pytest.approx(metrics.accuracy_score(right, given))
        if classes == 2:
            assert scores.f1(given, right) == pytest.approx(metrics.f1_score(right, given))
    x = np.round(rng.normal(size=200), 1)  # so that many are equal
    y = np.round(x + rng.normal(size=200), 1)
    assert scores.pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert scores.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


# ---- files ----

TABLES: dict[str, tuple[str, GlueExample]] = {
    "cola": ("gj04\t1\t\tOur friends won't buy it.\n", GlueExample(("Our friends won't buy it.",), 1)),
    "sst-2": ('sentence\tlabel\na "charming film \t1\n', GlueExample(('a "charming film',), 1)),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tHe said so .\tSo he said .\r\n",
        GlueExample(("He said so .", "So he said ."), 1),
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n4\t5\t6\tWhy?\tHow?\t0\n",
        GlueExample(("Why?", "How?"), 0),
    ),
    "sts-b": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tMS\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t5.000\n",
        GlueExample(("A plane.", "An air plane."), 5.0),
    ),
    "mnli": (
        "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n0\tf\tA\tB\tneutral\t-\n1\tf\tC\tD\tneutral\tneutral\n",
        GlueExample(("C", "D"), 1),
    ),
    "qnli": ("index\tquestion\tsentence\tlabel\n0\tWho?\tI.\tnot_entailment\n", GlueExample(("Who?", "I."), 1)),
    "rte": ("index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n", GlueExample(("A", "B"), 0)),
    "wnli": ("index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n", GlueExample(("A", "B"), 1)),
}


@pytest.mark.parametrize("name", TASKS)
def test_published_tables(name: str, tmp_path: Path) -> None:
    text, expected = TABLES[name]
    file = tmp_path / "dev.tsv"
    file.write_text(text, encoding="utf-8")
    assert read_glue(file, TASKS[name]) == [expected]


@pytest.mark.parametrize("name", TASKS)
def test_json_lines(name: str, tmp_path: Path) -> None:
    task, (_, expected) = TASKS[name], TABLES[name]
    value = dict(zip(task.in_json, expected.texts, strict=True)) | {"label": expected.answer, "idx": 0}
    file = tmp_path / "dev.jsonl"
    file.write_text(json.dumps(value) + "\n" + json.dumps(value) + "\n")
    assert read_glue(file, task) == [expected, expected] and read_glue(file, task, 1) == [expected]
    file.write_text(json.dumps(value | {"label": -1}) + "\n")
    with pytest.raises(OptionError, match="kept secret"):
        read_glue(file, task)


def test_tables_that_differ(tmp_path: Path) -> None:
    file = tmp_path / "dev.tsv"
    file.write_text("genre\tfile\t2012\t9\t2.5\tOne.\tTwo.\nnews\tfile\t2012\t10\t1\tA\tB\n")  # the STS benchmark's own
    assert read_glue(file, TASKS["sts-b"], 1) == [GlueExample(("One.", "Two."), 2.5)]
    file.write_text("4\tmain\tMSR\t2012\t9\tnone\tnone\tOne.\tTwo.\t4.25\n")  # GLUE's, without its head
    assert read_glue(file, TASKS["sts-b"]) == [GlueExample(("One.", "Two."), 4.25)]
    file.write_text("index\tsentence1\tsentence2\tlabel1\n0\tA\tB\tcontradiction\n")  # MNLI's for training
    assert read_glue(file, TASKS["mnli"]) == [GlueExample(("A", "B"), 2)]


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("rte", "index\tsentence1\tsentence2\n0\tA\tB\n", "no column label, which rte needs; are its answers kept"),
        ("rte", "index\tsentence1\tlabel\n0\tA\tentailment\n", "no column sentence2"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\tA\n", "line 2: has 2 columns"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tmaybe\n", "line 2: the answer is 'maybe'"),
        ("sts-b", "sentence1\tsentence2\tscore\nA\tB\t7\n", "a number from 0 to 5"),
        ("sst-2", "sentence\tlabel\nA\t0.5\n", "one of negative, positive"),
        ("sst-2", "sentence\tlabel\n", "has no line"),
        ("cola", "", "no column sentence"),
        ("sst-2", '{"sentence": "A"}\n', "line 1: label is missing"),
        ("sst-2", '{"sentence": "A", "label": true}\n', "no number"),
        ("sst-2", '{"sentence": "A", "label": 1}\n[]\n', "line 2: holds list"),
    ],
)
def test_wrong_files(name: str, text: str, match: str, tmp_path: Path) -> None:
    file = tmp_path / "dev.tsv"
    file.write_text(text)
    with pytest.raises(OptionError, match=match):
        read_glue(file, TASKS[name])


def test_names_of_tasks() -> None:
    assert task_named("SST2") is TASKS["sst-2"] and task_named("STS-B") is TASKS["sts-b"]
    with pytest.raises(OptionError, match="those are cola, sst-2"):
        task_named("glue")


# ---- heads ----


class Scripted:
    """A test double of a model: the numbers of a text are those that the test wrote down."""

    def __init__(self, numbers: dict[Text, list[float]], labels: Sequence[str] = ()) -> None:
        self._numbers, self.labels = numbers, labels

    def numbers(self, texts: Sequence[Text]) -> Any:
        return np.array([self._numbers[text] for text in texts], dtype=np.float32)


def test_a_head_of_classes_by_names() -> None:
    examples = [GlueExample(("a", "b"), 1), GlueExample(("c", "d"), 2), GlueExample(("e", "f"), 2)]
    numbers: dict[Text, list[float]] = {("a", "b"): [0, 1, 5], ("c", "d"): [3, 0, 0], ("e", "f"): [0, 9, 0]}
    reader = Scripted(numbers, ["CONTRADICTION", "Entailment", "neutral"])
    given = answers_of_head(reader, TASKS["mnli"], examples, Progress())
    assert given == [1, 2, 0] and measured(TASKS["mnli"], given, examples) == {"accuracy": pytest.approx(2 / 3)}


def test_classes_that_do_not_fit() -> None:
    task = TASKS["mnli"]
    assert class_order((), 3, task) == class_order(("LABEL_0", "LABEL_1", "LABEL_2"), 3, task) == [0, 1, 2]
    assert class_order(("POSITIVE", "NEGATIVE"), 2, TASKS["sst-2"]) == [1, 0]
    with pytest.raises(OptionError, match="has 3 classes, and the model 2"):
        class_order((), 2, task)
    with pytest.raises(OptionError, match="the model's classes are joy, anger"):
        class_order(("joy", "anger"), 2, TASKS["sst-2"])
    with pytest.raises(OptionError, match="wants a value"):
        answers_of_head(Scripted({("a", "b"): [1, 2]}), TASKS["sts-b"], [GlueExample(("a", "b"), 1)], Progress())


def test_values_of_a_regression_and_of_cosines() -> None:
    examples = [GlueExample(("a", "b"), 5), GlueExample(("a", "c"), 0), GlueExample(("b", "c"), 2)]
    pairs: dict[Text, list[float]] = {("a", "b"): [4.5], ("a", "c"): [0.5], ("b", "c"): [2.0]}
    given = answers_of_head(Scripted(pairs), TASKS["sts-b"], examples, Progress())
    assert given == [4.5, 0.5, 2.0] and measured(TASKS["sts-b"], given, examples)["spearman"] == pytest.approx(1)
    vectors: dict[Text, list[float]] = {"a": [3, 0], "b": [0.7, 0.7], "c": [0, 2]}
    heard: list[tuple[str, int, int]] = []
    progress = Progress(lambda *told: heard.append(told), "reading", total=6)
    assert answers_by_cosine(Scripted(vectors), examples, progress) == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    assert heard == [("reading", 0, 6)] and progress.done == 6


def test_a_head_that_is_fitted() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(5)
    vectors: dict[Text, list[float]] = {}
    examples = []
    for number in range(120):  # alike: equivalent
        first = rng.normal(size=16)
        alike = number % 2
        second = first + 0.2 * rng.normal(size=16) if alike else rng.normal(size=16)
        vectors[f"a{number}"], vectors[f"b{number}"] = first.tolist(), second.tolist()
        examples.append(GlueExample((f"a{number}", f"b{number}"), alike))
    reader, task = Scripted(vectors), TASKS["mrpc"]
    head = FittedHead(reader, task, examples[:80], Progress())
    found = measured(task, head.answers(examples[80:], Progress()), examples[80:])
    assert found["accuracy"] > 0.9 and found["f1"] > 0.9
    with pytest.raises(OptionError, match="all of one class"):
        FittedHead(reader, task, examples[::2], Progress())
