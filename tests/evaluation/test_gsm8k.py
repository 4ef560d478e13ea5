"""Word problems: the file, the grades of scripted answers, and a session that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.evaluation.gsm8k import Grade, Problem, SessionAnswerer, answer_all, grade, prompt_of, read_problems
from rbe_edge.progress import Progress

LINES = [
    {"question": "Ann has 2 eggs and buys 3. How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
    {"question": "A house costs $1,000 and 200 more. What is paid?", "answer": "It is 1200.\n#### 1,200"},
    {"question": "How cold is it?", "answer": "#### -3"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_reads(file: Path) -> None:
    problems = read_problems(file)
    assert [problem.number for problem in problems] == ["5", "1200", "-3"]
    assert problems[0].solution == LINES[0]["answer"] and read_problems(file, 1) == problems[:1]


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [
        (" The price is 1000 + 200.\n#### 1,200\n\n", True, True), (" #### $1200.", False, True),
        (" #### 1200. And 7.", True, False), (" It is 1200", False, True), (" It is $1,200.", False, True),
        (" 1200 or 1300", False, False), ("", False, False), (" no idea", False, False), (" #### x", False, False),
        (" #### 12000", False, False), (" 1200 #### 5 #### 1200", False, True),
    ],
    ids=range(11),
)  # fmt: skip
def test_grades(answer: str, strict: bool, flexible: bool) -> None:
    assert grade(answer, Problem("q", "#### 1,200", "1200")) == Grade(strict, flexible)


def test_scripted_answers(file: Path) -> None:
    """A stand-in for a model, which is asked behind the examples and graded."""
    problems = read_problems(file)
    asked: list[str] = []
    script = iter([" 2 + 3 = 5\n#### 5", " About 1,200 dollars", " Three below.\n#### 3"])

    def answerer(prompt: str) -> str:
        asked.append(prompt)
        return next(script)

    progress = Progress(total=3)
    grades = answer_all(answerer, problems, problems[2:], progress)
    assert grades == [Grade(True, True), Grade(False, True), Grade(False, False)] and progress.done == 3
    assert asked[0] == (
        "Question: How cold is it?\nAnswer: #### -3\n\nQuestion: Ann has 2 eggs and buys 3. How many?\nAnswer:"
    )
    assert asked[1].startswith("Question: How cold is it?\nAnswer: #### -3\n\nQuestion: A house")


def test_a_session_continues_greedily(file: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbe_edge.evaluation.gsm8k.MAX_TOKENS", 8)
    problems = read_problems(file)
    with Model.open(tiny_model) as model, SessionAnswerer(model, problems, problems[2:], threads=1) as answerer:
        for problem in (*problems, problems[0]):  # the last after others: nothing of them remains
            prompt = prompt_of(problem, problems[2:])
            tokens = model.tokenize(prompt)
            with model.session() as session:
                for _ in range(8):
                    session.rewind(0)
                    session.prefill(tokens)
                    tokens.append(int(session.logits.argmax()))
                    if model.ends_text(tokens[-1]):
                        break
            expected = model.detokenize(tokens[len(model.tokenize(prompt)) :])
            assert answerer(prompt) == expected.partition("Question:")[0]


def test_what_does_not_fit(file: Path, tiny_model: Path) -> None:
    with Model.open(tiny_model) as model, pytest.raises(OptionError, match=r"context holds 256; give fewer --shots"):
        SessionAnswerer(model, read_problems(file), [])


@pytest.mark.parametrize(
    ("line", "why"),
    [('{"question": "a", "answer": "5"}', "does not end in"),
     ('{"question": "a", "answer": "#### "}', "does not end in"),
     ('{"answer": "#### 5"}', "question is missing"), ('{"question": "a", "answer": 5}', "answer is no text")],
    ids=range(4),
)  # fmt: skip
def test_a_malformed_line_is_named(line: str, why: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file.open("a") as more:
        more.write(line + "\n")
    assert main(["eval", "none.rbe", "--gsm8k", str(file)]) == 2
    error = capsys.readouterr().err
    assert "test.jsonl, line 4: " in error and why in error and error.count("\n") == 1
