"""`rbe pack`: a model directory or checkpoint becomes a .rbe file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rbe_edge.cli.output import ProgressBar, ended_in_order, fitted, note, printable, size
from rbe_edge.cli.pack_size import add_size_arguments, bits_of
from rbe_edge.packing.effort_name import EFFORT_NAMES
from rbe_edge.runtime.encoder_kinds import try_it

if TYPE_CHECKING:
    from rbe_edge.packing.pack import PackReport

_EXAMPLE = """\
example:
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --bits 4
  rbe pack ./SmolLM2-135M-Instruct       then: rbe chat smollm2-135m-instruct
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --bits 3.2 \\
    --calibrate some-prose.txt --report smol
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --like Q4_K_M
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --size 70MB
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --effort quick
  rbe pack HuggingFaceTB/SmolLM2-135M-Instruct -o smol.rbe
  rbe pack stories260K.bin --tokenizer tok512.bin -o stories.rbe --bits 4

A model of the hub needs: pip install 'rbe-edge[hub]'
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "pack",
        help="make a .rbe file from a model",
        description="Packs a Hugging Face directory, a GGUF file, a llama2.c checkpoint or a model of the hub.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="a model directory, a .gguf or .bin file, or org/name of the hub")
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help="the .rbe file to write (into the model folder, under a name)"
    )
    add_size_arguments(parser)
    parser.add_argument(
        "--nested",
        action="store_true",
        help="store matrices that bear it in planes, so that power modes (rbe eval --power all) read less of them",
    )
    parser.add_argument(
        "--report",
        metavar="PATH",
        type=Path,
        help="write what each tensor got and why: PATH.md, and with matplotlib (rbe-edge[plot]) a picture, PATH.png",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=_calibration_text,
        help="a text like those the model is for, in UTF-8: less of what it needs is lost at the same size (a built-in "
        "text of many kinds); `none`: all errors count alike, which is quicker and loses more",
    )
    parser.add_argument(
        "--effort",
        choices=EFFORT_NAMES,
        default="normal",
        help="quick: a quarter of the time of normal, for a file that loses a little more; best: takes more text "
        "(normal)",
    )
    parser.add_argument("-t", "--threads", metavar="N", type=int, help="threads (all cores); the file is the same")
    parser.add_argument("--force", action="store_true", help="overwrite OUT where it exists")
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        type=Path,
        help="tokenizer of a llama2.c checkpoint (tok*.bin or tok*.model beside it)",
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of org/name")
    parser.add_argument("--json", action="store_true", help="write the report as one JSON object")
    parser.set_defaults(run=run)


def _calibration_text(argument: str) -> Path | Literal["none"]:
    return "none" if argument == "none" else Path(argument)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.models import find, folder
    from rbe_edge.packing.pack import PackOptions, pack

    options = PackOptions(
        bits=bits_of(arguments),
        threads=arguments.threads,
        force=arguments.force,
        tokenizer=arguments.tokenizer,
        revision=arguments.revision,
        calibrate=arguments.calibrate or "built-in",
        nested=arguments.nested,
        report=arguments.report,
        effort=arguments.effort,
    )
    try:
        with ended_in_order(), ProgressBar(in_ms=True) as bar:
            if arguments.output is not None:
                report = pack(arguments.source, arguments.output, options, bar.show)
            else:
                report = find.pack_named(arguments.source, options, bar.show)
    except (KeyboardInterrupt, SystemExit):
        if options.coded:
            note("interrupted; the same command goes on from what is finished")
        raise
    for line in report.notes:
        note(line)
    if arguments.json:
        known = {**dataclasses.asdict(report), "path": str(report.path), "bits_per_weight": report.bits_per_weight}
        print(json.dumps(known))
        return 0
    made = (
        f"{printable(str(report.path))}: {printable(report.name)} ({printable(report.architecture)}), "
        f"{report.parameters:,} weights in {size(report.file_bytes)}, {report.bits_per_weight:.2f} bits per weight, "
        f"{_cost(report)}, {report.seconds:.1f} s"
    )
    print(fitted(made, sys.stdout))
    name = str(report.path) if arguments.output is not None else folder.name_of(report.path)
    print(f"try it: {try_it(printable(name), report.path)}")
    return 0


def _cost(report: PackReport) -> str:
    """What was lost: measured, or where nothing was measured by what is known of the tensors."""
    from rbe_edge.packing.encoder_held_out import HeldOutDistance

    held_out = report.held_out
    if held_out is None:
        error = max((tensor.error for tensor in report.tensors), default=0.0)
        return f"relative squared error of a tensor at most {error:.4g}"
    if isinstance(held_out, HeldOutDistance):
        distance = f"{held_out.distance:.2g} ± {held_out.error:.1g}"
        return f"cosine distance {distance} to the source on {held_out.n} {held_out.of} of {held_out.text}"
    return f"KL {held_out.kl:.2g} ± {held_out.error:.1g} to the source on {held_out.n} {held_out.of} of {held_out.text}"
