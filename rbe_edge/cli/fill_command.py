"""`rbe fill`: words that fit into the gaps of a text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.output import printable
from rbe_edge.errors import OptionError

_EXAMPLE = """\
example:
  rbe fill bert.rbe "The capital of France is [MASK]."
  rbe fill roberta.rbe "The capital of France is <mask>." --top 3
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fill",
        help="find words that fit into a gap of a text",
        description="Finds the words that fit best into each gap of a text, by a model that was trained to fill gaps. "
        "A gap is written as the model's tokenizer writes it: [MASK] or <mask>.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("text", metavar="TEXT", help="a text with a gap or several")
    parser.add_argument("-n", "--top", metavar="N", type=int, default=5, help="words for each gap (%(default)s)")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model

    if not arguments.text.strip():
        raise OptionError("the text is empty; give one with a gap, such as [MASK]")
    if not 1 <= arguments.top <= 1000:
        raise OptionError(f"--top must be from 1 to 1000, not {arguments.top}")
    with Model.open(chosen_model(arguments.file)) as model:
        gaps = model.fill(arguments.text, top=arguments.top)
    if arguments.json:
        found = [[{"word": word, "probability": round(share, 6)} for word, share in words] for words in gaps]
        print(json.dumps({"text": arguments.text, "gaps": found}, ensure_ascii=False))
        return 0
    for line in _lines(gaps):
        print(printable(line))
    return 0


def _lines(gaps: Sequence[Sequence[tuple[str, float]]]) -> list[str]:
    lines: list[str] = []
    for number, words in enumerate(gaps, 1):
        if len(gaps) > 1:
            lines += [""] * bool(lines) + [f"gap {number}"]
        lines += [f"{100 * share:5.1f} %  {word.strip() or repr(word)}" for word, share in words]
    return lines
