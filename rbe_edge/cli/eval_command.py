"""`rbe eval`: what a packed model is worth on a text, or on questions (eval_tasks.py)."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.eval_effort import effort_of
from rbe_edge.cli.opened_source import opened_source
from rbe_edge.cli.output import ProgressBar, printable
from rbe_edge.errors import OptionError
from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.models.find import here
from rbe_edge.progress import Progress
from rbe_edge.runtime.text_file import read_text

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

_EXAMPLE = """\
example:
  rbe eval smol.rbe --text wiki.test.raw
  rbe eval nested.rbe --text wiki.test.raw --read-planes 1
  rbe eval smol.rbe --source ./SmolLM2-135M-Instruct --text wiki.test.raw \\
    --windows 24 --json
  rbe eval smol.rbe --choices arc_easy.jsonl --choices piqa.jsonl
  rbe eval smol.rbe --gsm8k test.jsonl --shots five.jsonl --limit 200
  rbe eval minilm.rbe --sts sts-dev.tsv --source ./all-MiniLM-L6-v2
  rbe eval minilm.rbe --glue mrpc dev.tsv --glue-train train.tsv
  rbe eval nested.rbe --power all           finds and measures its power modes
  rbe eval nested.rbe --power saver --text wiki.test.raw
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "eval",
        help="perplexity of a model on a text, and its divergence from the source",
        description="Computes perplexity, and with --source the KL divergence and top-1 agreement, in the engine that "
        "runs the model. The text is cut into windows that do not overlap; the first token of each is not scored. The "
        "digest is that of the logits of the first window: machines that print the same one computed the same bits. "
        "With --choices or --gsm8k it answers questions instead and counts the right answers, with standard errors.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("--text", metavar="T", type=Path, help="a text file in UTF-8 (--power all: a built-in one)")
    parser.add_argument("--source", metavar="SRC", help="what it was packed from: directory, .gguf, .bin or .rbe file")
    parser.add_argument(
        "--choices",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="multiple-choice questions instead of a text: JSON lines with the fields of ARC, PIQA, BoolQ or "
        "HellaSwag, or query, choices and gold; repeatable",
    )
    parser.add_argument(
        "--gsm8k",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="word problems instead of a text: JSON lines with question and answer, as of GSM8K; repeatable",
    )
    _add_encoder_arguments(parser)
    parser.add_argument("--shots", metavar="FILE", type=Path, help="solved examples before every question of --gsm8k")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N questions of each file (all)")
    parser.add_argument("--window", metavar="N", type=int, default=0, help="tokens per window (1024, or the context)")
    parser.add_argument("--windows", metavar="N", type=int, help="only the first N windows (all)")
    parser.add_argument("-t", "--threads", metavar="N", type=int, default=0, help="threads (one per core)")
    parser.add_argument("--read-planes", metavar="N", type=int, default=0, help="read the first N planes only (0: all)")
    parser.add_argument(
        "--power",
        metavar="MODE",
        choices=("all", *MODE_NAMES),
        help="all: find what each power mode may leave unread within its bound of perplexity, measure it and store the "
        "table in the file; or a mode's name: evaluate the file in it (performance)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON object")
    form.add_argument("--markdown", action="store_true", help="write a Markdown table")
    parser.set_defaults(run=run)


def _add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sts",
        metavar="FILE",
        type=Path,
        help="pairs of sentences and how alike they are, for a sentence encoder: a table as of STS-B, or JSON lines",
    )
    parser.add_argument(
        "--glue",
        nargs=2,
        metavar=("TASK", "FILE"),
        help="a task of GLUE for an encoder, such as mrpc, and its examples: the published table, or JSON lines",
    )
    parser.add_argument(
        "--glue-train", metavar="FILE", type=Path, help="examples that the head of a sentence encoder is fitted on"
    )


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model

    if arguments.glue is not None:
        arguments.file = chosen_model(arguments.file)
        from rbe_edge.cli.eval_glue import evaluate_glue

        return evaluate_glue(arguments)
    if arguments.glue_train is not None:
        raise OptionError("--glue-train is of a task; give --glue TASK FILE")
    if arguments.sts is not None:
        arguments.file = chosen_model(arguments.file)
        from rbe_edge.cli.eval_encoder import evaluate_pairs

        _print(evaluate_pairs(arguments), arguments)
        return 0
    if arguments.power == "all":
        if arguments.choices or arguments.gsm8k:
            raise OptionError("--power all measures a text; leave out --choices and --gsm8k")
        arguments.file = chosen_model(arguments.file)
        from rbe_edge.cli.eval_modes import evaluate_modes

        return evaluate_modes(arguments)
    if arguments.choices or arguments.gsm8k:
        arguments.file = chosen_model(arguments.file)
        from rbe_edge.cli.eval_tasks import evaluate_tasks

        return evaluate_tasks(arguments)
    if arguments.limit is not None or arguments.shots is not None:
        raise OptionError("--limit and --shots are of questions; give --choices FILE or --gsm8k FILE")
    if arguments.text is None:
        raise OptionError(_nothing_to_measure(here(arguments.file)))
    text = read_text(arguments.text)
    if arguments.window < 0 or (arguments.windows is not None and arguments.windows < 1):
        raise OptionError("--window and --windows are counts, 1 or more")
    arguments.file = chosen_model(arguments.file)
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(arguments.file))
        source = stack.enter_context(opened_source(arguments.source)) if arguments.source else None
        bar = stack.enter_context(ProgressBar())
        result = _evaluate(model, source, text, arguments, Progress(bar.show, "evaluating"))
    _print(result, arguments)
    return 0


def _nothing_to_measure(file: Path) -> str:
    """What to give, for the kind of model that a `.rbe` file is; a source is not packed to find out."""
    from rbe_edge.runtime.encoder_kinds import ANSWERS, kind_of_file, with_article

    kind = kind_of_file(file) if file.suffix == ".rbe" else None
    if kind == ANSWERS:
        return _answers_to_texts(file)
    if kind is not None:
        return (
            f"{printable(str(file))} is {with_article(kind)}; give --sts FILE, --glue TASK FILE, or --text FILE with "
            "--source SRC"
        )
    return "there is no text; give one with --text FILE"


def _answers_to_texts(file: Path) -> str:
    name = printable(str(file))
    return (
        f"{name} answers to texts, and a text alone is no measure; rbe pack says how far its answers are from the "
        "source's"
    )


def _print(result: dict[str, Any], arguments: argparse.Namespace) -> None:
    """In the form that was asked for."""
    if arguments.json:
        print(json.dumps(result))
    elif arguments.markdown:
        print("| " + " | ".join(result) + " |\n|" + "---|" * len(result))
        print("| " + " | ".join(_shown(value) for value in result.values()) + " |")
    else:
        for key, value in result.items():
            print(f"{key.replace('_', ' '):24} {_shown(value)}")


def _evaluate(
    model: Model, source: Model | None, text: str, arguments: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    from rbe_edge.evaluation.digest import logits_digest
    from rbe_edge.evaluation.divergence import divergence
    from rbe_edge.evaluation.perplexity import perplexity
    from rbe_edge.runtime.text_windows import text_windows

    if model.encoder_info.is_encoder:
        from rbe_edge.cli.eval_encoder import evaluate_encoder

        return evaluate_encoder(model, source, text, arguments, progress)
    if model.encoder_decoder is not None:
        raise OptionError(_answers_to_texts(arguments.file))
    known: dict[str, Any] = {"file": str(arguments.file), "text": arguments.text.name}
    known |= {"file_bytes": model.info.file_bytes, "bits_per_weight": model.info.bits_per_weight}
    how: dict[str, Any] = {"window": arguments.window, "n_windows": arguments.windows, "threads": arguments.threads}
    how["planes"] = arguments.read_planes
    how["effort"] = effort_of(model, arguments)
    if source is None:
        alone = perplexity(model, text, **how, progress=progress)
        window = alone.window
        known |= {"window": window, "stride": window, "tokens": alone.n_scored, "perplexity": alone.perplexity}
    else:
        both = divergence(model, source, text, **how, progress=progress)
        window = both.window
        known |= {
            "window": window, "stride": window, "tokens": both.n_scored, "perplexity": both.perplexity,
            "source_perplexity": both.source_perplexity, "kl": both.kl, "kl_error": both.kl_error,
            "kl_p99": both.kl_p99, "top1_agreement": both.top1_agreement, "flipped": both.flipped,
        }  # fmt: skip
    first = text_windows(model, text, window, 1)[0]
    digest = logits_digest(model, first, threads=arguments.threads, planes=arguments.read_planes, effort=how["effort"])
    return known | {"logits_digest": digest}


def _shown(value: object) -> str:
    return printable(f"{value:.6g}" if isinstance(value, float) else str(value))
