"""`rbe embed`: a vector for each text."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.output import ProgressBar, columns, printable
from rbe_edge.errors import ContextFull, ModelError, OptionError
from rbe_edge.files.new_file import NewFile, check_place
from rbe_edge.progress import Progress
from rbe_edge.terminal_text import one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.encoder_texts import TokenText
    from rbe_edge.runtime.model import Model

    Floats = npt.NDArray[np.float32]

_AT_ONCE = 256  # texts that are computed before any is written
_READ_BYTES = 1 << 16
_TABLE_COLUMNS = 9  # of a table, beside one another
_MOST_TABLE = 99  # texts: more fill many screens

_EXAMPLE = """\
example:
  rbe embed minilm.rbe "A dog plays." "A puppy runs." --table
  rbe embed minilm.rbe "Where did I park?" > vector.jsonl
  cat sentences.txt | rbe embed minilm.rbe - --npy sentences.npy
  rbe embed smol.rbe "A text" --pooling mean     by a decoder, which nobody
                                                 trained for it
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "embed",
        help="make a vector of each text",
        description="Makes a vector of each text, by a model that was trained for it. Texts that mean the same have "
        "vectors with a cosine near 1. Each text is one line of JSON on standard output.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="a text; `-` or none: the lines of standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--npy", metavar="FILE", type=Path, help="write the vectors as NumPy's array, float32")
    form.add_argument("--table", action="store_true", help="show the cosines between the texts")
    parser.add_argument("--prompt", metavar="NAME", help="what the model wants before a text, such as query")
    parser.add_argument(
        "--pooling", choices=("mean", "cls", "last", "max"), help="which states stand for a text (the model's own)"
    )
    parser.add_argument("--cut", action="store_true", help="cut texts that are too long, instead of refusing them")
    parser.add_argument("-t", "--threads", metavar="N", type=int, default=0, help="threads (one per core)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model

    if "-" in arguments.texts and len(arguments.texts) > 1:
        raise OptionError("- stands for the lines of standard input, and texts are given too; give one of both")
    if not arguments.texts and sys.stdin.isatty():
        raise OptionError("there is no text; give some, or - for the lines of standard input")
    for number, text in enumerate(arguments.texts, 1):
        if not text.strip():
            raise OptionError(f"text {number} is empty; leave it out")
    if arguments.npy is not None:
        check_place(arguments.npy, OptionError, replace=True)
    path = chosen_model(arguments.file)
    with Model.open(path) as model, ProgressBar() as bar, _Embedder(model, arguments) as embedder:
        if arguments.npy is not None or arguments.table:
            texts = [text for part in _texts(arguments) for text in part]
            return _together(texts, embedder, bar, arguments)
        for part in _texts(arguments):
            for start in range(0, len(part), _AT_ONCE):
                some = part[start : start + _AT_ONCE]
                rows = embedder.vectors(some, Progress(bar.show, "embedding"))
                bar.pause()
                for text, row in zip(some, rows, strict=True):
                    print(json.dumps({"text": text, "embedding": _numbers(row)}, ensure_ascii=False))
            sys.stdout.flush()
    return 0


def _together(texts: Sequence[str], embedder: _Embedder, bar: ProgressBar, arguments: argparse.Namespace) -> int:
    if not texts:
        raise OptionError("standard input has no line; give some text")
    if arguments.table and len(texts) > _MOST_TABLE:
        raise OptionError(
            f"--table shows {_MOST_TABLE} texts at most, and there are {len(texts)}; give fewer, or --npy"
        )
    rows = embedder.vectors(texts, Progress(bar.show, "embedding"))
    bar.close()
    if arguments.npy is not None:
        save(arguments.npy, rows)
        return 0
    for line in table(texts, rows, columns(sys.stdout) or 80):
        print(line)
    return 0


class _Embedder:
    """The model as the command line wants it. Raises OptionError where no vector stands for a text."""

    def __init__(self, model: Model, arguments: argparse.Namespace) -> None:
        from rbe_edge.runtime.encoder_tasks import prompt_text

        _check_embeds(model, arguments.pooling)
        self._prompt = prompt_text(model, arguments.prompt)
        self._cut: bool = arguments.cut
        self._n_texts = 0
        self._encoder = model.encoder(threads=arguments.threads, pooling=arguments.pooling)

    def __enter__(self) -> _Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self._encoder.close()

    def vectors(self, texts: Sequence[str], progress: Progress) -> Floats:
        """float32 [texts][width], each of length 1. Raises ContextFull, whose message counts the texts of all calls."""
        from rbe_edge.runtime.encoder_tasks import scaled

        read = [token_text for text in texts for token_text in self._read(text)]
        return scaled(self._encoder.pooled(read, progress=progress))

    def _read(self, text: str) -> list[TokenText]:
        self._n_texts += 1
        try:
            return self._encoder.read([text], cut=self._cut, prefix=self._prompt)
        except ContextFull as error:
            message = str(error).replace("text 1:", f"text {self._n_texts}:", 1)
            raise ContextFull(message, error.most) from None


def _check_embeds(model: Model, pooling: str | None) -> None:
    """Raises ModelError where no vector stands for a text."""
    from rbe_edge.runtime.encoder_kinds import kind_of

    info = model.encoder_info
    if info.is_classes:
        raise ModelError(f"{model.info.path} is a {kind_of(model)}, whose numbers are no embedding; give another model")
    if not info.embeds and pooling is None:
        kind = "an encoder without a pooling" if info.is_encoder else "a decoder"
        raise ModelError(
            f"{model.info.path} is {kind}, which nobody trained to embed texts; give a sentence encoder, or take its "
            "states with --pooling mean"
        )


def _texts(arguments: argparse.Namespace) -> Iterable[list[str]]:
    """Those of the command line at once; lines of standard input as they come."""
    return _lines() if arguments.texts in ([], ["-"]) else [arguments.texts]


def _lines() -> Iterator[list[str]]:
    """Whole lines, as many as have come; blank ones are left out. Raises OptionError for what is no UTF-8."""
    rest, number = b"", 0
    while data := os.read(sys.stdin.fileno(), _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield from _decoded(lines, number)
        number += len(lines)
    yield from _decoded([rest], number)


def _decoded(lines: Sequence[bytes], before: int) -> Iterator[list[str]]:
    found = []
    for number, line in enumerate(lines, before + 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise OptionError(f"line {number} of standard input is no UTF-8; convert it") from None
        if text:
            found.append(text)
    if found:
        yield found


def _numbers(row: Floats) -> list[float]:
    """As short as float32 can be told: 0.1 rather than 0.10000000149011612."""
    return [float(str(value)) for value in row]


def save(path: Path, rows: Floats) -> None:
    """An array for numpy.load(). Raises OptionError where it cannot be written."""
    import numpy as np

    with NewFile(path, OptionError, replace=True) as file:
        np.save(file, rows)
        file.commit()


def table(texts: Sequence[str], rows: Floats, width: int) -> Iterator[str]:
    """Lines of at most `width` characters, 40 or more: the cosines of all texts, in blocks of columns."""
    from rbe_edge.runtime.encoder_tasks import scaled

    rows = scaled(rows)
    cosines = rows @ rows.T
    blocks = range(0, len(texts), _TABLE_COLUMNS)
    for first in blocks:
        numbers = range(first, min(first + _TABLE_COLUMNS, len(texts)))
        room = max(width - 4 - 6 * len(numbers), 10)
        if first:
            yield ""
        yield f"{'':3} {'':{room}}" + "".join(f"{number + 1:>6}" for number in numbers)
        for place, text in enumerate(texts):
            cells = "".join(f"{cosines[place, number]:6.2f}" for number in numbers)
            yield f"{place + 1:>2}  {one_line(printable(text), room):{room}}{cells}"
