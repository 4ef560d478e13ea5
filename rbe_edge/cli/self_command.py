"""`rbe self`: one program that carries its model."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rbe_edge.cli.output import ProgressBar, printable, size
from rbe_edge.errors import OptionError
from rbe_edge.models.find import here

_EXAMPLE = """\
example:
  rbe self smol.rbe --program build/host/native/rbe -o smol
  ./smol                                   chats, without Python or other files
  ./smol run -p "Once upon a time" -n 100
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "self",
        help="make one program that carries its model",
        description="Makes one program that carries its model. Started alone it chats; with `run` and a prompt it "
        "continues that. The program in C can do the same for itself.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .rbe file, as made by `rbe pack`")
    parser.add_argument("-o", "--output", metavar="PROGRAM", type=Path, required=True, help="the program to make")
    parser.add_argument(
        "--program",
        metavar="OTHER",
        type=Path,
        help="the program `rbe` in C, of the target (the one beside the library)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite PROGRAM where it exists")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def _program(given: Path | None) -> Path:
    from rbe_edge.runtime.build import library_path

    if given is not None:
        return given
    beside = library_path().parent / "rbe"
    if not beside.is_file():
        raise OptionError(
            "there is no program `rbe` in C beside the library; build it (cmake -DRBE_CLI=ON), give --program"
        )
    return beside


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.packing.carrier import carry

    arguments.file = here(arguments.file)
    program = _program(arguments.program)
    with ProgressBar() as bar:
        made = carry(arguments.file, program, arguments.output, replace=arguments.force, progress=bar.show)
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(made), "path": str(made.path)}))
        return 0
    print(
        f"{printable(str(made.path))}: a program of {size(made.program_bytes)} that carries a model of "
        f"{size(made.model_bytes)}"
    )
    return 0
