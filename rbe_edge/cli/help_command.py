"""`rbe help`: what a command does, as its --help says; alone, all commands."""

from __future__ import annotations

import argparse
import difflib
import functools

from rbe_edge.errors import OptionError

_EXAMPLE = """\
example:
  rbe help chat
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "help",
        help="say what a command does",
        description="Says what a command does and which options it has. Without COMMAND: lists the commands.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="such as chat")
    parser.set_defaults(run=functools.partial(run, commands))


def run(commands: argparse._SubParsersAction[argparse.ArgumentParser], arguments: argparse.Namespace) -> int:
    if arguments.command is None:
        print(f"usage: {parser_name(commands)} COMMAND ...\n\ncommands:")
        for choice in commands._choices_actions:  # argparse has no public list
            print(f"  {choice.dest:<11} {choice.help}")
        print("\n`rbe help COMMAND` says more about one.")
        return 0
    found = commands.choices.get(arguments.command)
    if found is None:
        near = difflib.get_close_matches(arguments.command, commands.choices, 1, 0.5)
        meant = f"did you mean {near[0]}? " if near else ""
        raise OptionError(f"there is no command {arguments.command}; {meant}`rbe help` lists the commands")
    print(found.format_help(), end="")
    return 0


def parser_name(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> str:
    """What the program is called."""
    return next(iter(commands.choices.values())).prog.split()[0]
