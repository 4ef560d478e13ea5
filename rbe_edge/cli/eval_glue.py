"""`rbe eval MODEL --glue TASK FILE`: the scores of an encoder in a task of GLUE, beside its source."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge.cli.eval_encoder import check_flags
from rbe_edge.cli.opened_source import opened_source
from rbe_edge.cli.output import ProgressBar, printable
from rbe_edge.errors import ModelError, OptionError
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.evaluation.glue import Reader
    from rbe_edge.evaluation.glue_file import GlueExample, GlueTask
    from rbe_edge.runtime.model import Model


def evaluate_glue(arguments: argparse.Namespace) -> int:
    """Runs the task on the file, and on the source where there is one."""
    from rbe_edge.evaluation.glue_file import read_glue, task_named
    from rbe_edge.runtime.model import Model

    check_flags(arguments, "--glue", "--sts")
    task, path = task_named(arguments.glue[0]), Path(arguments.glue[1])
    examples = read_glue(path, task, arguments.limit)
    learned = read_glue(arguments.glue_train, task) if arguments.glue_train is not None else None
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(arguments.file))
        how = _how(model, task, learned)
        source = stack.enter_context(opened_source(arguments.source)) if arguments.source else None
        bar = stack.enter_context(ProgressBar())
        n_texts = len(examples) if how == "classes" else sum(len(one.texts) for one in [*examples, *(learned or [])])
        progress = Progress(bar.show, total=n_texts * (1 if source is None else 2))
        row: dict[str, Any] = {"task": task.name, "file": path.name, "examples": len(examples), "head": how}
        row |= _scores(model, "the file", task, examples, learned, progress, arguments)
        if source is not None:
            theirs = _scores(source, "the source", task, examples, learned, progress, arguments)
            row |= {f"source_{name}": value for name, value in theirs.items()}
    if arguments.json:
        print(json.dumps({"file": str(arguments.file), "glue": row}))
    elif arguments.markdown:
        print(printable(_markdown(row, task.scores)))
    else:
        print(printable("\n".join(_lines(row, task.scores))))
    return 0


def _how(model: Model, task: GlueTask, learned: Sequence[GlueExample] | None) -> str:
    """What answers: the model's own classes, a head that is fitted, or cosines. Raises ModelError, OptionError and
    MissingExtra where something is missing."""
    info = model.encoder_info
    if info.is_classes:
        if learned is not None:
            raise OptionError("this model has classes of its own, so nothing is fitted; leave out --glue-train")
        return "classes"
    if not info.embeds:
        raise ModelError(f"{model.info.path} has neither classes nor embeddings; give a classifier or sentence encoder")
    if not task.classes:
        return "cosine"
    if learned is None:
        raise OptionError(
            f"a sentence encoder needs examples of {task.name} to learn its classes from; give --glue-train FILE"
        )
    from rbe_edge.evaluation.glue import check_extra

    check_extra()
    return "fitted"


def _scores(
    model: Model,
    what: str,
    task: GlueTask,
    examples: Sequence[GlueExample],
    learned: Sequence[GlueExample] | None,
    progress: Progress,
    arguments: argparse.Namespace,
) -> dict[str, float]:
    from rbe_edge.evaluation.glue import FittedHead, answers_by_cosine, answers_of_head, measured

    how = _how(model, task, learned)
    progress.what = f"{task.name}, {what}"
    with _EncoderReader(model, arguments) as reader:
        if how == "classes":
            given = answers_of_head(reader, task, examples, progress)
        elif how == "cosine":
            given = answers_by_cosine(reader, examples, progress)
        else:
            given = FittedHead(reader, task, learned or [], progress).answers(examples, progress)
    return measured(task, given, examples)


class _EncoderReader:
    """A model as evaluation/glue.py reads it. Texts that are too long are cut."""

    def __init__(self, model: Model, arguments: argparse.Namespace) -> None:
        self.labels: Sequence[str] = model.encoder_info.labels
        self._encoder = model.encoder(threads=arguments.threads, planes=arguments.read_planes)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._encoder.close()

    def numbers(self, texts: Sequence[Any]) -> Any:
        return self._encoder.pooled(self._encoder.read(texts, cut=True))


_HEADS = {"classes": "its own classes", "fitted": "a fitted head", "cosine": "cosines"}


def _cells(row: dict[str, Any], name: str) -> list[str]:
    """The score x 100 of the file, of the source, and the difference, where there is one."""
    cells = [f"{100 * row[name]:.2f}"]
    if f"source_{name}" in row:
        theirs = row[f"source_{name}"]
        cells += [f"{100 * theirs:.2f}", f"{100 * (row[name] - theirs):+.2f}"]
    return cells


def _lines(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    lines = [f"{row['file']}: {row['task']}, {row['examples']:,} examples, by {_HEADS[row['head']]}; scores x 100"]
    for name in names:
        ours, *more = _cells(row, name)
        line = f"  {name:12} {ours:>7}"
        lines.append(line + (f"   source {more[0]:>7}   difference {more[1]}" if more else ""))
    return lines


def _markdown(row: dict[str, Any], names: Sequence[str]) -> str:
    lines = ["| task | examples | score | file | source | difference |", "|---|---|---|---|---|---|"]
    for name in names:
        cells = [row["task"], f"{row['examples']:,}", name, *[*_cells(row, name), "", ""][:3]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
