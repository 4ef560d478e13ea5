"""`rbe show`: `rbe inspect` by another name, as users of other programs look for it."""

from __future__ import annotations

import argparse

from rbe_edge.cli.inspect_command import add_inspect_arguments, run

_EXAMPLE = """\
example:
  rbe show smollm2-135m:4bit
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "show",
        help="show what a model holds (as inspect does)",
        description="Shows hyper-parameters, tokenizer, sizes, provenance, parts and, with --tensors, every tensor.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_inspect_arguments(parser)
    parser.set_defaults(run=run)
