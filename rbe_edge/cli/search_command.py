"""`rbe search`: the passages of an index that mean what a question asks for."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT, chosen_model, model_of_index
from rbe_edge.cli.output import columns, printable
from rbe_edge.errors import OptionError
from rbe_edge.terminal_text import one_line

if TYPE_CHECKING:
    from rbe_edge.search.index import Found, Index

_HEADING = re.compile(r"^#{1,6} +(.*?)[ :#]*$", re.MULTILINE)
_CANDIDATES = 30  # that a cross encoder reads at least
_LINES = 2  # of a passage that are shown

_EXAMPLE = """\
example:
  rbe index ~/notes -o notes.idx
  rbe search notes.idx where did I park
  rbe search notes.idx "where did I park" -n 3 --rerank msmarco.rbe --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "search",
        help="find passages in an index by what they mean",
        description="Finds the passages of an index, which `rbe index` makes, whose meaning is nearest to a question. "
        "Before each stands the cosine of both, at most 1.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("index", metavar="INDEX", type=Path, help="a file that `rbe index` made")
    parser.add_argument("query", metavar="QUERY", nargs="+", help="what to look for, one word or many")
    parser.add_argument("-n", "--top", metavar="N", type=int, default=5, help="passages (%(default)s)")
    parser.add_argument(
        "--rerank", metavar="MODEL", type=Path, help="a cross encoder, which reads the best ones with the question"
    )
    parser.add_argument(
        "-m", "--model", metavar="MODEL", type=Path, help=f"the index's own, where it has moved: {WHAT}"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.search.index import Index

    query = " ".join(arguments.query).strip()
    if not query:
        raise OptionError("the question is empty; say what to look for")
    if not 1 <= arguments.top <= 1000:
        raise OptionError(f"--top must be from 1 to 1000, not {arguments.top}")
    with Index.open(arguments.index) as index:
        found = _found(index, query, arguments)
    score = "cosine" if arguments.rerank is None else "score"
    if arguments.json:
        results = [{"path": _shown(one.path), "line": one.line, "text": one.text, score: one.score} for one in found]
        print(json.dumps({"query": query, "results": results}, ensure_ascii=False))
        return 0
    if not found:
        print(f"{printable(str(arguments.index))} holds no passages", file=sys.stderr)
    for line in _lines(found, columns(sys.stdout) or 80):
        print(line)
    return 0


def _found(index: Index, query: str, arguments: argparse.Namespace) -> list[Found]:
    from rbe_edge.runtime.model import Model
    from rbe_edge.search.embedding import SentenceEncoder, ranked

    most = arguments.top if arguments.rerank is None else max(arguments.top, _CANDIDATES)
    with Model.open(chosen_model(model_of_index(index, arguments.model))) as model, SentenceEncoder(model) as encoder:
        encoder.check(index)
        found = index.nearest(encoder.query(query), most)
    if arguments.rerank is not None and found:
        with Model.open(chosen_model(arguments.rerank)) as model:
            found = ranked(model, query, found)[: arguments.top]
    return found


def _lines(found: Sequence[Found], width: int) -> list[str]:
    """For each passage where it is, and how it begins."""
    lines = []
    for one in found:
        lines.append(f"{one.score:5.2f}  {printable(_shown(one.path))}:{one.line}")
        room = max(width - 7, 20)
        text = one_line(_HEADING.sub(r"\1:", one.text), _LINES * room)
        while text:
            end = len(text) if len(text) <= room else text.rfind(" ", 1, room + 1)
            end = room if end < 1 else end
            lines.append(f"{'':7}{text[:end].rstrip()}")
            text = text[end:].lstrip()
    return lines


def _shown(path: Path) -> str:
    """As short as one can type it from here."""
    text = str(path)
    relative = os.path.relpath(text) if os.path.isabs(text) else text
    return text if relative.startswith(f"..{os.sep}..") or len(relative) > len(text) else relative
