"""`rbe tune`: a packed model becomes a better one of the same size."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rbe_edge.cli.output import ProgressBar, note, printable
from rbe_edge.models.find import here
from rbe_edge.runtime.text_file import read_text

_EXAMPLE = """\
example:
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --bits 3
  rbe tune smol.rbe --source ./SmolLM2-135M-Instruct --text some-prose.txt \\
    -o smol-tuned.rbe
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "tune",
        help="bring a packed model closer to its source, at the same size",
        description="Tunes row scales, norms and biases of a packed model by gradient descent on its KL divergence to "
        "the source. Part of the text is held out: the step that is best on it is kept. The temporary directory needs "
        "room for both models with four bytes per weight.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the .rbe file to tune")
    parser.add_argument(
        "--source",
        metavar="SRC",
        required=True,
        help="what it was packed from: directory, checkpoint, GGUF or dense .rbe",
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the .rbe file to write")
    parser.add_argument(
        "--text",
        metavar="TEXT",
        type=Path,
        help="a text like those the model is for, in UTF-8 (a built-in one of 13,000 tokens)",
    )
    parser.add_argument("--steps", metavar="N", type=int, default=100, help="steps of the optimiser (100)")
    parser.add_argument("--batch", metavar="N", type=int, default=2, help="windows of 512 tokens for each step (2)")
    parser.add_argument("--learning-rate", metavar="X", type=float, default=5e-3, help="relative, at most (5e-3)")
    parser.add_argument("-s", "--seed", metavar="N", type=int, default=0, help="of the order of the windows (0)")
    parser.add_argument("-t", "--threads", metavar="N", type=int, help="threads (all cores)")
    parser.add_argument("--force", action="store_true", help="overwrite OUT where it exists")
    parser.add_argument("--json", action="store_true", help="write the report as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.tuning.tune import TuneOptions, tune

    arguments.file = here(arguments.file)
    text = read_text(arguments.text, "text") if arguments.text is not None else None
    options = TuneOptions(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        threads=arguments.threads,
        force=arguments.force,
    )
    with ProgressBar(in_ms=True) as bar:
        report = tune(arguments.file, arguments.source, text, arguments.output, options, bar.show)
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(report), "path": str(report.path)}))
        return 0
    print(
        f"{printable(str(report.path))}: {report.parameters:,} parameters, step {report.kept} of {report.steps} kept, "
        f"{report.tokens:,} tokens, {report.seconds:.1f} s"
    )
    for name, before, after in (
        ("KL to the source", report.kl_before, report.kl_after),
        ("perplexity over the source's", report.perplexity_ratio_before, report.perplexity_ratio_after),
    ):
        print(f"  {name}, on text held out: {before:.5g} before, {after:.5g} after")
    if report.kept == 0:
        note("no step was better than the file as it was; give more text, or a lower --learning-rate")
    return 0
