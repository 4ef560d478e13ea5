"""`rbe`: reads the command line, runs one command, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 130 stopped with Ctrl-C, 141 nobody reads the output.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from rbe_edge._version import __version__
from rbe_edge.cli.output import note, printable
from rbe_edge.errors import Cancelled, ContextFull, NativeLibraryError, OptionError, RbeError
from rbe_edge.interrupts import was_pressed

#: In the order of the help; `name` is added by cli/name_command.py.
COMMANDS = (
    "pack", "inspect", "fit", "run", "chat", "embed", "index", "search", "fill", "eval", "compare", "bench", "tune",
    "build", "deploy", "report", "serve", "list", "show", "cp", "rm", "pull", "doctor", "self", "completion", "help",
)  # fmt: skip

_OF_ALL = ("completion", "help")  # commands that know all others

_EXAMPLE = """\
example:
  rbe                              talk to the demo model
  rbe chat ./model.gguf            or to any other; it is packed once
  rbe pack ./SmolLM2-135M-Instruct -o smol.rbe --bits 4
  rbe chat smol.rbe
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which knows what an option was meant to be."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if not rest or " " not in self.prog:
            return found, rest
        if not self._takes(found, rest):  # argparse would leave it to `rbe`, which knows no options of a command
            self.error(self._unknown(rest))
        return found, []

    def _takes(self, found: argparse.Namespace, rest: Sequence[str]) -> bool:
        """Whether words behind options are arguments that were still missing: argparse looks for those that may be left
        out before the first option alone."""
        missing = [one for one in self._actions if one.nargs == "?" and getattr(found, one.dest, "") is None]
        free = [one for one in missing if not one.option_strings]
        if len(rest) > len(free) or any(word.startswith("-") for word in rest):
            return False
        for action, word in zip(free, rest, strict=False):
            setattr(found, action.dest, action.type(word) if callable(action.type) else word)
        return True

    def _unknown(self, rest: Sequence[str]) -> str:
        import difflib

        wrong = next((word for word in rest if word.startswith("-")), rest[0])
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        near = difflib.get_close_matches(wrong.partition("=")[0], known, 1, 0.6) if wrong.startswith("--") else []
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"unrecognized arguments: {' '.join(rest)}{meant}"

    def format_help(self) -> str:
        """The description as wide as the terminal is, the epilog as it was written."""
        if self.description:
            self.description = textwrap.fill(self.description, shutil.get_terminal_size().columns - 2)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        note(f"{message}; see `{self.prog} --help`")
        self.exit(2)


def _parser(wanted: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Of these commands. One that is not wanted is not imported, which takes a small device longer than all else."""
    parser = _Parser(
        prog="rbe",
        description="Packs language models into small files and runs them on small computers.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rbe {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name in wanted:
        importlib.import_module(f"rbe_edge.cli.{name}_command").add_parser(commands)
    return parser


def _fail(message: str, as_json: bool, code: int) -> int:
    line = printable(" ".join(message.split()))
    if as_json:
        print(json.dumps({"error": line}), flush=True)
    note(line)
    return code


def _in_full(error: RbeError, arguments: argparse.Namespace) -> str:
    """With the option that helps, which the library does not know."""
    if isinstance(error, ContextFull) and error.most is not None and "ctx_size" in arguments:
        return f"{error} (-c)"
    return f"{error} (--cut)" if isinstance(error, ContextFull) and "cut" in arguments else str(error)


def _report_faults() -> None:
    from rbe_edge.runtime.faults import report_faults

    try:
        report_faults("rbe")
    except NativeLibraryError:
        pass  # a command that needs the library says so


def _run(arguments: argparse.Namespace) -> int:
    as_json = getattr(arguments, "json", False)
    try:
        _report_faults()
        code: int = arguments.run(arguments)
        sys.stdout.flush()  # a full disk or a closed pipe is to be known here
        return code
    except (KeyboardInterrupt, Cancelled):
        return 130
    except RbeError as error:
        if was_pressed():  # while a module was imported, which then seemed to be missing
            return 130
        return _fail(_in_full(error, arguments), as_json, 2 if isinstance(error, OptionError) else 1)
    except MemoryError:
        return _fail("out of memory; use a smaller model or context", as_json, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; argv defaults to the program's own."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started it
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    # Text that a terminal in another encoding cannot show is replaced, never a crash in the middle of an answer.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    argv = list(sys.argv[1:] if argv is None else argv) or _alone()
    first = argv[0]
    if not first.startswith("-") and first not in COMMANDS:
        return _fail(_no_command(first), False, 2)
    wanted = () if first == "--version" else (first,) if first in COMMANDS and first not in _OF_ALL else COMMANDS
    try:
        return _run(_parser(wanted).parse_args(argv))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _forget_output()
        return 141
    except OSError as error:
        _forget_output()
        if was_pressed():  # what a Ctrl-C left half closed
            return 130
        return _fail(_os_error(error), False, 1)


def _alone() -> list[str]:
    """What `rbe` alone means: the client on a terminal, help elsewhere."""
    return ["chat"] if sys.stdin.isatty() and sys.stdout.isatty() else ["--help"]


def _no_command(first: str) -> str:
    import difflib
    from pathlib import Path

    near = difflib.get_close_matches(first, COMMANDS, 1, 0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    if Path(first).exists():
        meant = f"to talk to it: rbe chat {first}; "
    return f"there is no command {first}; {meant}`rbe help` lists the commands"


def _forget_output() -> None:
    """Python flushes standard output once more when it exits: let what cannot be written go nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


if __name__ == "__main__":
    sys.exit(main())
