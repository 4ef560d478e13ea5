"""`rbe eval FILE --choices FILE --gsm8k FILE`: how many questions a model answers, beside its source."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge.cli.eval_effort import effort_of
from rbe_edge.cli.opened_source import opened_source
from rbe_edge.cli.output import ProgressBar, printable
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

#: What one model answered: by the name of a measure, which answers were right.
Answers = dict[str, list[bool]]


@dataclass(frozen=True)
class _Task:
    """kind: a format of choices, or gsm8k. answers: of a model that is read as the keywords say, what it
    chose, and how many questions were cut."""

    kind: str
    file: Path
    n: int
    answers: Callable[..., tuple[Answers, list[int], int]]


def evaluate_tasks(arguments: argparse.Namespace) -> int:
    """Runs all tasks on the file, and on the source where there is one."""
    from rbe_edge.runtime.model import Model

    _check(arguments)
    tasks = [_choices_task(path, arguments.limit) for path in arguments.choices]
    tasks += [_gsm8k_task(path, arguments.shots, arguments.limit) for path in arguments.gsm8k]
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(arguments.file))
        how = {"planes": arguments.read_planes, "effort": effort_of(model, arguments), "threads": arguments.threads}
        source = stack.enter_context(opened_source(arguments.source)) if arguments.source else None
        bar = stack.enter_context(ProgressBar())
        progress = Progress(bar.show, total=sum(task.n for task in tasks) * (1 if source is None else 2))
        rows = [_measured(task, model, source, how, progress) for task in tasks]
    found = {"file": str(arguments.file), "tasks": rows}
    if arguments.json:
        print(json.dumps(found))
    elif arguments.markdown:
        print(printable(_markdown(rows)))
    else:
        print(printable("\n".join(line for row in rows for line in _lines(row))))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.text is not None or arguments.window or arguments.windows is not None:
        raise OptionError("--text measures a text, --choices and --gsm8k answers; give one of them at a time")
    if arguments.limit is not None and arguments.limit < 1:
        raise OptionError("--limit is a count, 1 or more")
    if arguments.shots is not None and not arguments.gsm8k:
        raise OptionError("--shots are examples before a question of --gsm8k; give that too")


def _choices_task(path: Path, limit: int | None) -> _Task:
    from rbe_edge.evaluation.choices import SessionReader, pick
    from rbe_edge.evaluation.choices_file import read_choices

    file = read_choices(path, limit)

    def answers(model: Model, progress: Progress, **how: Any) -> tuple[Answers, list[int], int]:
        with SessionReader(model, file.questions, **how) as reader:
            picks = pick(reader, file.questions, progress)
        gold = [question.gold for question in file.questions]
        right: Answers = {
            "accuracy": [one.likeliest == best for one, best in zip(picks, gold, strict=True)],
            "accuracy_normalised": [one.normalised == best for one, best in zip(picks, gold, strict=True)],
        }
        return right, [one.likeliest for one in picks], reader.cut

    return _Task(file.form, path, len(file.questions), answers)


def _gsm8k_task(path: Path, shots: Path | None, limit: int | None) -> _Task:
    from rbe_edge.evaluation.gsm8k import SessionAnswerer, answer_all, read_problems

    problems = read_problems(path, limit)
    examples = read_problems(shots) if shots is not None else []

    def answers(model: Model, progress: Progress, **how: Any) -> tuple[Answers, list[int], int]:
        with SessionAnswerer(model, problems, examples, **how) as answerer:
            grades = answer_all(answerer, problems, examples, progress)
        right = {"strict": [one.strict for one in grades], "flexible": [one.flexible for one in grades]}
        return right, [], 0

    return _Task("gsm8k", path, len(problems), answers)


def _measured(
    task: _Task, model: Model, source: Model | None, how: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """The row of a task: every measure of the file, of its source, and the difference, each with its error."""
    from rbe_edge.evaluation.shares import difference, share

    row: dict[str, Any] = {"task": task.kind, "questions_file": task.file.name, "questions": task.n}
    progress.what = f"{task.kind}, {task.file.name}"
    right, chosen, cut = task.answers(model, progress, **how)
    if cut:
        row["answers_with_cut_questions"] = cut
    theirs: Answers = {}
    their_choices: Sequence[int] = []
    if source is not None:
        progress.what = f"{task.kind}, {task.file.name}, the source"
        theirs, their_choices, _ = task.answers(source, progress, threads=how["threads"])
    for name, answers in right.items():
        found = share(answers)
        row |= {name: found.value, f"{name}_error": found.error}
        if source is not None:
            other, apart = share(theirs[name]), difference(answers, theirs[name])
            row |= {f"source_{name}": other.value, f"source_{name}_error": other.error}
            row |= {f"{name}_difference": apart.value, f"{name}_difference_error": apart.error}
    if their_choices:
        row["other_answers"] = sum(a != b for a, b in zip(chosen, their_choices, strict=True)) / task.n
    return row


def _measures(row: dict[str, Any]) -> list[str]:
    return [key.removesuffix("_difference_error") for key in row if key.endswith("_difference_error")] or [
        key.removesuffix("_error") for key in row if key.endswith("_error")
    ]


def _shown(row: dict[str, Any], key: str, sign: str = "") -> str:
    """'31.2 ± 1.4 %'; "" where it was not measured."""
    return f"{100 * row[key]:{sign}.1f} ± {100 * row[f'{key}_error']:.1f} %" if key in row else ""


def _lines(row: dict[str, Any]) -> list[str]:
    lines = [f"{row['questions_file']}: {row['task']}, {row['questions']:,} questions"]
    for name in _measures(row):
        line = f"  {name.replace('_', ' '):24} {_shown(row, name)}"
        if f"source_{name}" in row:
            line += f"   source {_shown(row, f'source_{name}')}   difference {_shown(row, f'{name}_difference', '+')}"
        lines.append(line)
    if "other_answers" in row:
        lines.append(f"  {'other answers than source':24} {100 * row['other_answers']:.1f} %")
    if "answers_with_cut_questions" in row:
        lines.append(f"  {'questions cut to fit':24} before {row['answers_with_cut_questions']:,} answers")
    return lines


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| task | questions | measure | file | source | difference | other answers |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        other = f"{100 * row['other_answers']:.1f} %" if "other_answers" in row else ""
        for name in _measures(row):
            cells = [
                row["task"], f"{row['questions']:,}", name.replace("_", " "), _shown(row, name),
                _shown(row, f"source_{name}"), _shown(row, f"{name}_difference", "+"), other,
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
            other = ""
    return "\n".join(lines)
