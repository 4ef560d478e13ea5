"""The nine tasks of GLUE, from the files in which they are published: tab-separated, or JSON lines.

| task | columns | of JSON lines | classes, from 0 |
|---|---|---|---|
| cola | a line of source, label, mark, sentence, without a head | sentence | unacceptable, acceptable |
| sst-2 | sentence, label | sentence | negative, positive |
| mrpc | Quality, #1 String, #2 String | sentence1, sentence2 | not_equivalent, equivalent |
| qqp | question1, question2, is_duplicate | question1, question2 | not_duplicate, duplicate |
| sts-b | sentence1, sentence2, score; or without a head | sentence1, sentence2 | 0 to 5 |
| mnli | sentence1, sentence2, gold_label | premise, hypothesis | entailment, neutral, contradiction |
| qnli | question, sentence, label | question, sentence | entailment, not_entailment |
| rte | sentence1, sentence2, label | sentence1, sentence2 | entailment, not_entailment |
| wnli | sentence1, sentence2, label | sentence1, sentence2 | not_entailment, entailment |

STS-B without a head has the ten columns of GLUE, or those of the STS benchmark. JSON lines have `label`, a number, and
-1 where it is kept secret. Tabs separate, and quotes are letters like others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.json_lines import Malformed, Object, read_objects, text_of
from rbe_edge.runtime.text_file import read_text


@dataclass(frozen=True)
class GlueTask:
    """texts: the columns of the texts, in the tab-separated form. label: that of the answer. in_json: the fields of the
    texts. classes: their names by number; none for sts-b, whose answers are values. scores: of rbe_edge.evaluation
    .scores. places: of texts and label where a file has no head, by how many columns it has at least, the most
    first."""

    name: str
    texts: tuple[str, ...]
    label: str
    in_json: tuple[str, ...]
    classes: tuple[str, ...]
    scores: tuple[str, ...]
    places: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


_PAIR = ("sentence1", "sentence2")
_ENTAILED = ("entailment", "not_entailment")
_RIGHT = ("accuracy",)

TASKS: Mapping[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask(
            "cola",
            ("sentence",),
            "label",
            ("sentence",),
            ("unacceptable", "acceptable"),
            ("matthews",),
            places={4: (3, 1)},
        ),
        GlueTask("sst-2", ("sentence",), "label", ("sentence",), ("negative", "positive"), _RIGHT),
        GlueTask(
            "mrpc", ("#1 String", "#2 String"), "Quality", _PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1")
        ),
        GlueTask(
            "qqp",
            ("question1", "question2"),
            "is_duplicate",
            ("question1", "question2"),
            ("not_duplicate", "duplicate"),
            ("accuracy", "f1"),
        ),
        GlueTask("sts-b", _PAIR, "score", _PAIR, (), ("pearson", "spearman"), places={10: (7, 8, 9), 7: (5, 6, 4)}),
        GlueTask(
            "mnli", _PAIR, "gold_label", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), _RIGHT
        ),
        GlueTask("qnli", ("question", "sentence"), "label", ("question", "sentence"), _ENTAILED, _RIGHT),
        GlueTask("rte", _PAIR, "label", _PAIR, _ENTAILED, _RIGHT),
        GlueTask("wnli", _PAIR, "label", _PAIR, _ENTAILED[::-1], _RIGHT),
    )
}


@dataclass(frozen=True)
class GlueExample:
    """texts: one or two. answer: a class's number, or the value of sts-b."""

    texts: tuple[str, ...]
    answer: float


def task_named(name: str) -> GlueTask:
    """Of any case, with or without `-`. Raises OptionError."""
    found = {key.replace("-", ""): task for key, task in TASKS.items()}.get(name.lower().replace("-", ""))
    if found is None:
        raise OptionError(f"{name} is no task of GLUE; those are {', '.join(TASKS)}")
    return found


def read_glue(path: Path, task: GlueTask, limit: int | None = None) -> list[GlueExample]:
    """The examples of a file, or the first `limit`; those without agreement of MNLI (gold_label `-`) are left out. The
    form is that of the first line. Raises OptionError for a file that cannot be read, lacks a column, has no answers,
    and for a malformed line, with its number."""
    text = read_text(path)
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        found = read_objects(path, lambda value: _of_object(value, task), limit)
    else:
        found = _of_table(path, text, task, limit)
    if any(math.isnan(example.answer) for example in found):
        raise OptionError(f"{path}: the answers of {task.name} are kept secret in this file; give the one for training "
                          "or development")  # fmt: skip
    return found


def _of_object(value: Object, task: GlueTask) -> GlueExample:
    texts = tuple(text_of(value, key, empty=True) for key in task.in_json)
    label = value.get("label")
    if isinstance(label, bool) or not isinstance(label, int | float | str):
        raise Malformed(f"label is {'missing' if 'label' not in value else 'no number'}")
    return GlueExample(texts, math.nan if label == -1 else _answer(str(label), task))


def _of_table(path: Path, text: str, task: GlueTask, limit: int | None) -> list[GlueExample]:
    lines = text.lstrip("\ufeff").split("\n")  # not splitlines: a text may hold U+2028
    places, first = _places(path, lines[0].rstrip("\r").split("\t"), task)
    found: list[GlueExample] = []
    for number, line in enumerate(lines[first:], first + 1):
        if limit is not None and len(found) == limit:
            break
        if not line.strip():
            continue
        try:
            example = _of_row(line.rstrip("\r").split("\t"), places, task)
        except Malformed as wrong:
            raise OptionError(f"{path}, line {number}: {wrong}") from None
        if example is not None:
            found.append(example)
    if not found:
        raise OptionError(f"{path}: has no line; give a file of GLUE")
    return found


def _places(path: Path, head: Sequence[str], task: GlueTask) -> tuple[tuple[int, ...], int]:
    """Where texts and answer are in a row, and the first line that is one."""
    wanted = (*task.texts, task.label)
    if task.name == "mnli" and "gold_label" not in head and "label1" in head:
        wanted = (*task.texts, "label1")
    if all(name in head for name in wanted):
        return tuple(map(head.index, wanted)), 1
    bare = next((places for columns, places in task.places.items() if len(head) >= columns), None)
    if bare is not None and not set(task.texts) & set(head):
        return bare, 0
    missing = next(name for name in wanted if name not in head)
    secret = "; are its answers kept secret?" if missing == wanted[-1] else ""
    raise OptionError(f"{path}: has no column {missing}, which {task.name} needs{secret}")


def _of_row(cells: Sequence[str], places: Sequence[int], task: GlueTask) -> GlueExample | None:
    if len(cells) <= max(places):
        raise Malformed(f"has {len(cells)} columns, and {max(places) + 1} are needed")
    *texts, answer = (cells[place].strip() for place in places)
    if task.name == "mnli" and answer == "-":
        return None
    return GlueExample(tuple(texts), _answer(answer, task))


def _answer(text: str, task: GlueTask) -> float:
    if text in task.classes:
        return task.classes.index(text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if task.classes and value in range(len(task.classes)):
        return int(value)
    if not task.classes and 0 <= value <= 5:
        return value
    wanted = f"one of {', '.join(task.classes)} or its number" if task.classes else "a number from 0 to 5"
    raise Malformed(f"the answer is {text[:40]!r}, not {wanted}")
