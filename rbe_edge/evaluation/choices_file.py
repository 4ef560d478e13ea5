"""Multiple-choice questions from JSON lines, in the fields in which ARC, PIQA, BoolQ and HellaSwag are published.

What a model reads and which answers it compares are those of the tasks arc_easy, arc_challenge, piqa, boolq and
hellaswag of EleutherAI's lm-evaluation-harness (lm_eval/tasks/), without examples before the question.

| format | fields | what is read | answers |
|---|---|---|---|
| arc | question, choices {text, label}, answerKey | Question: QUESTION, Answer: | the texts |
| arc, of AI2 | question {stem, choices [{text, label}]}, answerKey | the same | the texts |
| piqa | goal, sol1, sol2, label | Question: GOAL, Answer: | both solutions |
| boolq | passage, question, answer or label | PASSAGE, Question: QUESTION?, Answer: | no, yes |
| hellaswag | activity_label, ctx_a, ctx_b, endings, label | ACTIVITY: CTX_A CTX_B, without [brackets] | endings |
| plain | query, choices, gold | QUERY | the texts |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.evaluation.json_lines import (
    Malformed,
    Object,
    index_of,
    read_objects,
    text_of,
    texts_of,
)


@dataclass(frozen=True)
class Question:
    """context: what stands before the answers, a blank between. gold: the place of the right one, from 0."""

    context: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class ChoicesFile:
    """form: a key of FORMATS."""

    form: str
    questions: tuple[Question, ...]


def read_choices(path: Path, limit: int | None = None) -> ChoicesFile:
    """The questions of a file, or the first `limit`. All lines have the format of the first one. Raises OptionError for
    a file that cannot be read, an unknown format, and a malformed line, with its number."""
    forms: list[str] = []

    def read(value: Object) -> Question:
        if not forms:
            forms.append(_form_of(value))
        return FORMATS[forms[0]](value)

    questions = read_objects(path, read, limit)
    return ChoicesFile(forms[0], tuple(questions))


def _form_of(value: Object) -> str:
    found = [form for form, fields in _FIELDS.items() if value.keys() >= fields]
    if not found:
        known = "; ".join(f"{form} ({', '.join(sorted(fields))})" for form, fields in _FIELDS.items())
        raise Malformed(f"is of no known format; its fields must be those of {known}")
    return found[0]


def _arc(value: Object) -> Question:
    asked, choices = value["question"], value.get("choices")
    if isinstance(asked, dict):  # as AI2 published it
        question, listed = text_of(asked, "stem"), asked.get("choices")
        if not isinstance(listed, list) or not all(isinstance(choice, dict) for choice in listed):
            raise Malformed("choices is no list of objects")
        choices = {key: [choice.get(key) for choice in listed] for key in ("text", "label")}
    else:
        question = text_of(value, "question")
    if not isinstance(choices, dict):
        raise Malformed("choices is missing or no object")
    texts, labels = texts_of(choices, "text"), choices.get("label")
    if not isinstance(labels, list) or len(labels) != len(texts):
        raise Malformed("choices has not as many labels as texts")
    key = text_of(value, "answerKey")
    if labels.count(key) != 1:
        raise Malformed(f"answerKey {key[:20]!r} is none of the labels")
    return Question(f"Question: {question}\nAnswer:", tuple(texts), labels.index(key))


def _piqa(value: Object) -> Question:
    solutions = (text_of(value, "sol1"), text_of(value, "sol2"))
    return Question(f"Question: {text_of(value, 'goal')}\nAnswer:", solutions, index_of(value, "label", 2))


def _boolq(value: Object) -> Question:
    gold = index_of(value, "answer" if "answer" in value else "label", 2)
    passage, question = text_of(value, "passage"), text_of(value, "question")
    return Question(f"{passage}\nQuestion: {question}?\nAnswer:", ("no", "yes"), gold)


def _hellaswag(value: Object) -> Question:
    endings = tuple(_without_brackets(ending) for ending in texts_of(value, "endings"))
    start, last = text_of(value, "ctx_a", empty=True), text_of(value, "ctx_b", empty=True)
    context = _without_brackets(f"{text_of(value, 'activity_label')}: {start} {last.capitalize()}")
    if not all(endings):
        raise Malformed("an ending is empty")
    return Question(context, endings, index_of(value, "label", len(endings)))


def _without_brackets(text: str) -> str:
    """WikiHow's brackets are no text: "[title]" ends a sentence, others go."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _plain(value: Object) -> Question:
    choices = texts_of(value, "choices")
    return Question(text_of(value, "query"), tuple(choices), index_of(value, "gold", len(choices)))


FORMATS: Mapping[str, Callable[[Object], Question]] = {
    "hellaswag": _hellaswag, "piqa": _piqa, "boolq": _boolq, "arc": _arc, "plain": _plain,
}  # fmt: skip
_FIELDS: Mapping[str, frozenset[str]] = {
    "hellaswag": frozenset({"ctx_a", "ctx_b", "activity_label", "endings"}),
    "piqa": frozenset({"goal", "sol1", "sol2"}),
    "boolq": frozenset({"passage", "question"}),
    "arc": frozenset({"question", "answerKey"}),
    "plain": frozenset({"query", "choices", "gold"}),
}
