"""Word problems answered in full: GSM8K's JSON lines, graded as the task gsm8k of EleutherAI's lm-evaluation-harness.

A line has `question` and `answer`, which ends in "#### NUMBER". The model continues "Question: QUESTION, Answer:"
behind solved examples, greedily, until it writes "Question:" or 256 tokens. Two numbers are graded: `strict` is what
stands behind the first "#### ", which a model writes where examples show it; `flexible` is the last number of the
answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.json_lines import Malformed, Object, read_objects, text_of
from rbe_edge.progress import Progress
from rbe_edge.runtime.options import GenerationOptions

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.session import Session

MAX_TOKENS = 256
STOP = "Question:"

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_ANY = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")

Answerer = Callable[[str], str]
"""What continues a prompt with an answer."""


@dataclass(frozen=True)
class Problem:
    """solution: the whole of it, number: what stands behind its "#### "."""

    question: str
    solution: str
    number: str


@dataclass(frozen=True)
class Grade:
    strict: bool
    flexible: bool


def read_problems(path: Path, limit: int | None = None) -> list[Problem]:
    """The problems of a file, or the first `limit`. Raises OptionError with the number of a malformed line."""
    return read_objects(path, _problem, limit)


def _problem(value: Object) -> Problem:
    question, solution = text_of(value, "question"), text_of(value, "answer")
    _, mark, number = solution.rpartition("####")
    if not mark or not _plain(number):
        raise Malformed('answer does not end in "#### NUMBER"')
    return Problem(question, solution, _plain(number))


def _plain(number: str) -> str:
    """Without what GSM8K's grading leaves out of numbers."""
    return number.strip().replace(",", "").replace("$", "").rstrip(".")


def grade(answer: str, problem: Problem) -> Grade:
    marked = _MARKED.search(answer)
    numbers = _ANY.findall(answer)
    return Grade(
        marked is not None and _plain(marked[1]) == problem.number,
        bool(numbers) and _plain(numbers[-1]) == problem.number,
    )


def prompt_of(problem: Problem, examples: Sequence[Problem]) -> str:
    """What the model continues."""
    shown = [f"Question: {example.question}\nAnswer: {example.solution}\n\n" for example in examples]
    return f"{''.join(shown)}Question: {problem.question}\nAnswer:"


def answer_all(
    answerer: Answerer, problems: Sequence[Problem], examples: Sequence[Problem], progress: Progress
) -> list[Grade]:
    """The grades of the answers to problems, which progress counts one by one."""
    grades = []
    for problem in problems:
        grades.append(grade(answerer(prompt_of(problem, examples)), problem))
        progress.done += 1
        progress.tell()
    return grades


class SessionAnswerer:
    """A model as an Answerer: greedy; what a prompt begins with as the one before did is read once. A context manager,
    for one thread."""

    def __init__(
        self,
        model: Model,
        problems: Sequence[Problem],
        examples: Sequence[Problem],
        *,
        threads: int = 0,
        planes: int = 0,
        effort: Effort | None = None,
    ) -> None:
        """problems, examples: all that will be asked. threads, planes, effort: as of a choices.SessionReader. Raises
        OptionError where a problem and its answer do not fit into the model's context."""
        self._model = model
        longest = max(len(model.tokenize(prompt_of(problem, examples))) for problem in problems)
        if longest + MAX_TOKENS > model.info.context:
            raise OptionError(
                f"a question with its examples has {longest} tokens, its answer {MAX_TOKENS}, and the model's context "
                f"holds {model.info.context}; give fewer --shots"
            )
        self._session: Session = model.session(context=longest + MAX_TOKENS, threads=threads, planes=planes)
        if effort is not None:
            self._session.set_effort(effort)

    def __enter__(self) -> SessionAnswerer:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def __call__(self, prompt: str) -> str:
        rest = self._session.resume(self._model.tokenize(prompt))
        options = GenerationOptions(max_tokens=MAX_TOKENS, stop=(STOP,))
        return "".join(self._session.generate(rest, options))
