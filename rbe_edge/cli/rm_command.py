"""`rbe rm`: removes models from the model folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rbe_edge.cli.output import note, printable, size
from rbe_edge.errors import OptionError
from rbe_edge.models import folder

_EXAMPLE = """\
example:
  rbe rm smollm2-135m:4bit
  rbe rm smollm2-135m:3bit qwen2.5-0.5b:4bit --yes
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "rm",
        help="remove models from the model folder",
        description="Removes models of `rbe list` from the model folder, after asking. Other files are not touched.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a name of `rbe list`")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    paths = list(dict.fromkeys(map(model_of_folder, arguments.names)))
    if not arguments.yes and not sys.stdin.isatty():
        raise OptionError("nobody is there to be asked; give --yes to remove without asking")
    kept = 0
    for path in paths:
        name = folder.name_of(path)
        if not arguments.yes and not _asked(f"remove {name} ({size(path.stat().st_size)})? [y/N] "):
            kept += 1
            continue
        folder.remove(path)
        note(f"{name} is removed")
    return 1 if kept == len(paths) else 0


def model_of_folder(name: str) -> Path:
    """The file of a name. Raises OptionError where the model folder has none of that name."""
    found = folder.find(name) if folder.is_name(name) else None
    if found is None:
        known = ", ".join(map(folder.name_of, folder.files())) or "none yet"
        raise OptionError(f"there is no model called {name} in {folder.directory()}; there are: {known}")
    return found


def _asked(question: str) -> bool:
    print(printable(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
