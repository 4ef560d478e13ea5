"""What a model answers to the examples of a GLUE task: by its own head of classes, or by a head that is fitted on its
embeddings.

A head that is fitted is a logistic regression (scikit-learn's, C = 1) on the vector of a text, and of a pair on both
vectors, the absolute values of their difference and their product, as SentEval has it. Every vector is scaled to the
length sqrt(width), so that its values are around 1. STS-B needs none: its answer is the cosine of both vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rbe_edge.errors import MissingExtra, OptionError
from rbe_edge.evaluation import scores
from rbe_edge.evaluation.glue_file import GlueExample, GlueTask
from rbe_edge.progress import Progress
from rbe_edge.runtime.encoder_tasks import scaled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_AT_ONCE = 256  # texts of a call, after which the bar moves

Text = str | tuple[str, str]


class Reader(Protocol):
    """What a model makes of texts. labels: names of its classes, () where it says none."""

    labels: Sequence[str]

    def numbers(self, texts: Sequence[Text]) -> Floats:
        """float32 [texts][numbers]: the numbers of the classes, or an embedding."""


def measured(task: GlueTask, given: Sequence[float], examples: Sequence[GlueExample]) -> dict[str, float]:
    """The scores of a task by their names. given: an answer for each example."""
    right = [example.answer for example in examples]
    if task.classes:
        given, right = [int(one) for one in given], [int(one) for one in right]
    return {name: float(_SCORES[name](given, right)) for name in task.scores}


_SCORES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": scores.accuracy,
    "f1": scores.f1,
    "matthews": scores.matthews,
    "pearson": scores.pearson,
    "spearman": scores.spearman,
}


# ---- a head of classes ----

_SAME = {
    "negative": "neg", "positive": "pos", "entailed": "entailment", "not_entailed": "not_entailment",
    "contradict": "contradiction", "paraphrase": "equivalent", "not_paraphrase": "not_equivalent",
    "grammatical": "acceptable", "ungrammatical": "unacceptable", "non_duplicate": "not_duplicate",
}  # fmt: skip


def answers_of_head(reader: Reader, task: GlueTask, examples: Sequence[GlueExample], progress: Progress) -> list[float]:
    """The likeliest class of each, or the value of a head with one number. Raises OptionError where the head does not
    fit the task."""
    numbers = _read(reader, [_text(example.texts) for example in examples], progress)
    if not task.classes:
        if numbers.shape[1] != 1:
            raise OptionError(
                f"{task.name} wants a value, and the model has {numbers.shape[1]} classes; give a model that was "
                "trained for it, or a sentence encoder"
            )
        return [float(one) for one in numbers[:, 0]]
    order = class_order(reader.labels, numbers.shape[1], task)
    return [order[int(best)] for best in numbers.argmax(axis=1)]


def class_order(labels: Sequence[str], count: int, task: GlueTask) -> list[int]:
    """For each of the model's classes the task's number of it: by their names, or as they come where the model has
    none of its own (LABEL_0). Raises OptionError where they do not fit."""
    if count != len(task.classes):
        raise OptionError(
            f"{task.name} has {len(task.classes)} classes, and the model {count}; give a model that was trained for it"
        )
    if not labels or all(label.upper() == f"LABEL_{place}" for place, label in enumerate(labels)):
        return list(range(count))
    wanted = [_plain(name) for name in task.classes]
    found = [_plain(label) for label in labels]
    if sorted(found) != sorted(wanted):
        raise OptionError(
            f"the model's classes are {', '.join(labels)}, and those of {task.name} {', '.join(task.classes)}; give a "
            "model that was trained for it"
        )
    return [wanted.index(name) for name in found]


def _plain(name: str) -> str:
    words = name.strip().lower().replace("-", "_").replace(" ", "_")
    return _SAME.get(words, words)


# ---- a head that is fitted ----


def answers_by_cosine(reader: Reader, examples: Sequence[GlueExample], progress: Progress) -> list[float]:
    """Of STS-B: the cosine of the texts of each example."""
    first, second = _vectors(reader, examples, progress)
    return [float(one) for one in (first * second).mean(axis=1)]


class FittedHead:
    """A logistic regression on the embeddings of examples. Raises MissingExtra without scikit-learn."""

    def __init__(self, reader: Reader, task: GlueTask, examples: Sequence[GlueExample], progress: Progress) -> None:
        """examples: to learn from, of two classes or more, else OptionError."""
        regression = _logistic_regression()
        answers = [int(example.answer) for example in examples]
        if len(set(answers)) < 2:
            raise OptionError(f"the examples of {task.name} to learn from are all of one class; give more of them")
        self._reader = reader
        self._fitted = regression(C=1.0, max_iter=1000).fit(_features(_vectors(reader, examples, progress)), answers)

    def answers(self, examples: Sequence[GlueExample], progress: Progress) -> list[float]:
        """A class's number for each."""
        found = self._fitted.predict(_features(_vectors(self._reader, examples, progress)))
        return [int(one) for one in found]


def _logistic_regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra(
            "scikit-learn fits the head of a sentence encoder; install it with pip install 'rbe-edge[glue]'"
        ) from None
    return LogisticRegression


def check_extra() -> None:
    """Raises MissingExtra without scikit-learn."""
    _logistic_regression()


def _vectors(reader: Reader, examples: Sequence[GlueExample], progress: Progress) -> list[Floats]:
    """For each text of an example a row, of length sqrt(width)."""
    n_texts = len(examples[0].texts)
    rows = scaled(_read(reader, [text for example in examples for text in example.texts], progress))
    rows *= rows.shape[1] ** 0.5
    return [rows[place::n_texts] for place in range(n_texts)]


def _features(vectors: Sequence[Floats]) -> Floats:
    import numpy as np

    if len(vectors) == 1:
        return vectors[0]
    first, second = vectors
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


def _text(texts: tuple[str, ...]) -> Text:
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])


def _read(reader: Reader, texts: Sequence[Text], progress: Progress) -> Floats:
    """reader.numbers() of many texts; the progress counts them."""
    import numpy as np

    found = []
    for start in range(0, len(texts), _AT_ONCE):
        progress.tell()
        part = texts[start : start + _AT_ONCE]
        found.append(reader.numbers(part))
        progress.done += len(part)
    return np.concatenate(found)
