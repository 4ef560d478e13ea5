"""`rbe cp`: gives a model of the model folder another name too."""

from __future__ import annotations

import argparse
from pathlib import Path

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.output import ended_in_order, note
from rbe_edge.errors import OptionError
from rbe_edge.models import folder

_EXAMPLE = """\
example:
  rbe cp smollm2-135m:4bit my-tutor
  rbe cp ./tuned.rbe my-tutor:3bit
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "cp",
        help="copy a model under another name",
        description="Copies a model, or a .rbe file, into the model folder under a name. Nothing is overwritten.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("name", metavar="NAME", help="a new name, such as my-tutor or my-tutor:3bit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model

    if arguments.name == "demo":
        raise OptionError("demo is the model that comes with rbe; give another name")
    target = folder.file_of(arguments.name)
    source = chosen_model(arguments.file)
    with Model.open(source, verify=False):  # what is no model gets no name
        pass
    folder.made_directory()
    with ended_in_order():
        folder.copy(source, target)
    note(f"{folder.name_of(target)} is a copy of {arguments.file}")
    return 0
