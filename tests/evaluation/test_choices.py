"""Multiple-choice questions: the files, the protocol on scripted likelihoods, and a session beside whole passes."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.evaluation.choices import Pick, SessionReader, encoded, pick
from rbe_edge.evaluation.choices_file import Question, read_choices
from rbe_edge.evaluation.shares import difference, share
from rbe_edge.progress import Progress

ARC = {
    "id": "x",
    "question": "What is wet?",
    "choices": {"text": ["sun", "sea"], "label": ["A", "B"]},
    "answerKey": "B",
}
AI2 = {
    "id": "x", "answerKey": "2",
    "question": {"stem": "What is wet?", "choices": [{"text": "sun", "label": "1"}, {"text": "sea", "label": "2"}]},
}  # fmt: skip
PIQA = {"goal": "Open a jar", "sol1": "turn the lid", "sol2": "eat it", "label": 0}
BOOLQ = {"question": "is water wet", "passage": "Water is wet.", "answer": True, "title": "Water"}
SUPER_GLUE = {"question": "is water wet", "passage": "Water is wet.", "idx": 3, "label": 0}
HELLASWAG = {
    "ind": 4, "activity_label": "Roof", "ctx_a": "A man sits on a roof.", "ctx_b": "he", "ctx": "unread",
    "endings": ["sings [step] a  song", "falls"], "label": "1", "source_id": "wikihow~1",
}  # fmt: skip
PLAIN = {"query": "Two and two is", "choices": ["four", "five", "six"], "gold": 0}

EXPECTED = [
    (ARC, "arc", Question("Question: What is wet?\nAnswer:", ("sun", "sea"), 1)),
    (AI2, "arc", Question("Question: What is wet?\nAnswer:", ("sun", "sea"), 1)),
    (PIQA, "piqa", Question("Question: Open a jar\nAnswer:", ("turn the lid", "eat it"), 0)),
    (BOOLQ, "boolq", Question("Water is wet.\nQuestion: is water wet?\nAnswer:", ("no", "yes"), 1)),
    (SUPER_GLUE, "boolq", Question("Water is wet.\nQuestion: is water wet?\nAnswer:", ("no", "yes"), 0)),
    (HELLASWAG, "hellaswag", Question("Roof: A man sits on a roof. He", ("sings a song", "falls"), 1)),
    (PLAIN, "plain", Question("Two and two is", ("four", "five", "six"), 0)),
]


def _write(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in objects), encoding="utf-8")
    return path


@pytest.mark.parametrize(("value", "form", "question"), EXPECTED, ids=range(len(EXPECTED)))
def test_formats(value: dict[str, Any], form: str, question: Question, tmp_path: Path) -> None:
    found = read_choices(_write(tmp_path / "q.jsonl", value, value))
    assert (found.form, found.questions) == (form, (question, question))
    assert len(read_choices(tmp_path / "q.jsonl", 1).questions) == 1


def test_brackets_of_wikihow(tmp_path: Path) -> None:
    value = HELLASWAG | {"ctx_a": "How to sing [header] Sing [title] Open your mouth.", "ctx_b": ""}
    assert (
        read_choices(_write(tmp_path / "q", value)).questions[0].context == "Roof: How to sing Sing. Open your mouth."
    )


def test_a_file_as_editors_write_it(tmp_path: Path) -> None:
    text = json.dumps(PLAIN | {"query": "a\u2028b"}, ensure_ascii=False)
    (tmp_path / "q").write_text(f"\ufeff{text}\r\n\n{text}", encoding="utf-8")
    assert [question.context for question in read_choices(tmp_path / "q").questions] == ["a\u2028b"] * 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "is no JSON"), ("[" * 100000, "is no JSON"), ("[1]", "holds list, not an object"),
        ('{"gold": ' + "9" * 5000 + "}", "is no JSON"), ('{"query": "a"}', "choices is missing"),
        (json.dumps(PLAIN | {"gold": 3}), "gold is 3, and there are 3 choices"),
        (json.dumps(PLAIN | {"gold": -1}), "gold is -1"), (json.dumps(PLAIN | {"gold": 1.5}), "gold is no number"),
        (json.dumps(PLAIN | {"gold": "9" * 4000}), "gold is no number"),
        (json.dumps(PLAIN | {"choices": "ab"}), "list"),
        (json.dumps(PLAIN | {"choices": ["a"]}), "two texts or more"),
        (json.dumps(PLAIN | {"choices": ["a", " "]}), "two"),
        (json.dumps(PLAIN | {"query": " \n"}), "query is empty"),
        (json.dumps(PLAIN | {"query": 7}), "query is no text"),
        (json.dumps(PLAIN | {"query": "\ud800"}), "query holds half of a surrogate pair"),
        (json.dumps(PIQA), "choices is missing"),  # all lines have the format of the first one
    ],
    ids=range(16),
)  # fmt: skip
def test_a_malformed_line_is_named(line: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f"{json.dumps(PLAIN)}\n\n{line}\n{json.dumps(PLAIN)}\n", encoding="utf-8")
    assert main(["eval", str(tmp_path / "none.rbe"), "--choices", str(path)]) == 2
    error = capsys.readouterr().err
    assert "q.jsonl, line 3: " in error and why in error
    assert error.startswith("rbe: ") and error.count("\n") == 1 and len(error) < 400


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ARC | {"answerKey": "C"}, "none of the labels"),
        (ARC | {"choices": {"text": ["a", "b"]}}, "as many labels"),
        (ARC | {"choices": [1]}, "no object"),
        (AI2 | {"question": {"stem": "a", "choices": [1]}}, "no list of objects"),
        (PIQA | {"label": 2}, "label is 2"), ({k: v for k, v in PIQA.items() if k != "label"}, "label is missing"),
        (BOOLQ | {"answer": "yes"}, "answer is no number"), (HELLASWAG | {"endings": ["a", "[x]"]}, "ending is empty"),
        ({"text": "a"}, "of no known format; its fields must be those of hellaswag"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_question(value: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"line 1: .*{why}"):
        read_choices(_write(tmp_path / "q", value))


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("\n \n")
    with pytest.raises(OptionError, match="has no line"):
        read_choices(tmp_path / "q")


class Scripted:
    """A stand-in for a model, which knows what it finds likely."""

    def __init__(self, nats: dict[str, list[float]]) -> None:
        self.nats = nats
        self.asked: list[list[str]] = []

    def log_likelihoods(self, context: str, continuations: Sequence[str]) -> Sequence[float]:
        self.asked.append(list(continuations))
        return self.nats[context]


def test_what_is_picked() -> None:
    """By the sum, and by the sum per letter; the first of equals."""
    questions = [Question("a", ("no", "certainly not"), 1), Question("b", ("x", "y"), 0), Question("c", ("x", "yy"), 0)]
    model = Scripted({"a": [-4.0, -6.0], "b": [-1.0, -1.0], "c": [-3.0, -2.0]})
    heard: list[tuple[str, int, int]] = []
    progress = Progress(lambda *told: heard.append(told), "choices", 3)
    assert pick(model, questions, progress) == [Pick(0, 1), Pick(0, 0), Pick(1, 1)]
    assert model.asked == [[" no", " certainly not"], [" x", " y"], [" x", " yy"]]
    assert heard == [("choices", 1, 3), ("choices", 2, 3), ("choices", 3, 3)]


def test_shares_and_their_errors() -> None:
    right = [True] * 3 + [False]
    found = share(right)
    assert (found.value, found.n) == (0.75, 4) and found.error == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    same = difference(right, right)
    assert (same.value, same.error) == (0, 0), "what both find easy counts for neither"
    apart = difference([True, True, False, False], right)
    assert apart.value == -0.25 and apart.error == pytest.approx(np.std([0, 0, -1, 0], ddof=1) / 2)
    assert share([True]).error == 0


def test_a_session_gives_what_whole_passes_give(tiny_model: Path) -> None:
    """Likelihoods by numpy on the logits of one pass for each answer; the question is read once."""
    questions = [
        Question("the cat and the", ("cat", "the hat", "z"), 0), Question("the cat and a", ("dog", "ab"), 1),
        Question("ends in a blank ", ("cat", "hat"), 0),
    ]  # fmt: skip
    with Model.open(tiny_model) as model, SessionReader(model, questions, threads=1) as reader:
        for question in questions:
            texts = [f" {choice}" for choice in question.choices]
            found = reader.log_likelihoods(question.context, texts)
            for text, nats in zip(texts, found, strict=True):
                tokens, start = encoded(model, question.context, text)
                assert tokens == model.tokenize(question.context + text) and 0 < start < len(tokens)
                with model.session() as session:
                    logits = session.score(tokens, logits=True).logits.astype(np.float64)
                logits -= logits.max(1, keepdims=True)
                exact = logits - np.log(np.exp(logits).sum(1, keepdims=True))
                places = range(start, len(tokens))
                assert nats == pytest.approx(sum(exact[at - 1, tokens[at]] for at in places), abs=1e-4)
            assert reader.log_likelihoods(question.context, texts[::-1]) == found[::-1], "nothing of others remains"
        assert reader.cut == 0


def test_what_does_not_fit_loses_its_beginning(tiny_model: Path) -> None:
    long = Question("a" * 300 + " the cat and the", ("cat", "hat"), 0)
    with Model.open(tiny_model) as model, SessionReader(model, [long]) as reader:
        found = reader.log_likelihoods(long.context, [" cat"])[0]
        tokens, start = encoded(model, long.context, " cat")
        kept = tokens[-256:]
        with model.session() as session:
            exact = session.score(kept).log_probabilities[start - len(tokens) :]
        assert reader.cut == 1 and found == pytest.approx(float(exact.sum()), abs=1e-4)
        with pytest.raises(OptionError, match="an answer has"):
            reader.log_likelihoods("the", [" cat" * 300])


def test_command(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arc, piqa = _write(tmp_path / "arc.jsonl", ARC, AI2), _write(tmp_path / "piqa.jsonl", PIQA)
    command = ["eval", str(tiny_model), "--choices", str(arc), "--choices", str(piqa), "--source", str(tiny_model)]
    assert main([*command, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["tasks"]
    assert (first["task"], first["questions"], second["task"], second["questions"]) == ("arc", 2, "piqa", 1)
    assert first["accuracy"] == first["source_accuracy"] and first["other_answers"] == 0
    assert first["accuracy_difference"] == first["accuracy_normalised_difference_error"] == 0
    assert main([*command, "--limit", "1"]) == 0
    assert "arc.jsonl: arc, 1 questions" in capsys.readouterr().out
    assert main([*command, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and len({line.count("|") for line in lines}) == 1


def test_ctrl_c_ends_it(tiny_model: Path, tmp_path: Path) -> None:
    """While questions are answered: no result, no traceback."""
    path = _write(tmp_path / "q.jsonl", *[PLAIN | {"query": f"{number} " * 60} for number in range(20000)])
    command = [sys.executable, "-m", "rbe_edge", "eval", str(tiny_model), "--choices", str(path), "-t", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(6)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "") and "Traceback" not in error


@pytest.mark.parametrize(
    ("more", "why"),
    [(["--text", "x"], "give one of them"), (["--limit", "0"], "--limit is a count"), (["--shots", "x"], "--gsm8k"),
     (["--power", "all"], "leave out"), (["--windows", "3"], "give one of them")],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_options(more: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path / "q", PLAIN)
    assert main(["eval", "m.rbe", "--choices", str(path), *more]) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1
