"""`rbe index`: puts the text files of a folder into an index, for `rbe search`."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT, chosen_model, model_of_index
from rbe_edge.cli.output import ProgressBar, note
from rbe_edge.errors import Cancelled, ModelError, OptionError
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.search.index import Index
    from rbe_edge.search.update import Changes

_EXAMPLE = """\
example:
  rbe pull sentence-transformers/all-MiniLM-L6-v2
  rbe index ~/notes -o notes.idx
  rbe search notes.idx "where did I park"
  rbe index -o notes.idx             again: reads what has changed since
  rbe index ~/letters -o notes.idx   one more folder
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "index",
        help="put a folder of texts into an index, for `rbe search`",
        description="Puts the .txt and .md files of a folder, and of the folders in it, into an index that `rbe "
        "search` finds passages in by what they mean. An index that is there is brought up to date: files that have "
        "not changed are not read again. Nothing leaves this machine.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="*", type=Path, help="a folder (those that the index has already)"
    )
    parser.add_argument("-o", "--out", metavar="INDEX", type=Path, required=True, help="the index, made where missing")
    parser.add_argument(
        "-m", "--model", metavar="MODEL", type=Path, help=f"a sentence encoder (the only one of `rbe list`): {WHAT}"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object when done")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model
    from rbe_edge.search.embedding import SentenceEncoder
    from rbe_edge.search.index import Index
    from rbe_edge.search.update import check_folders, update

    check_folders(arguments.folders)
    with ExitStack() as stack:
        index = stack.enter_context(Index.open(arguments.out)) if arguments.out.exists() else None
        path = chosen_model(_model_of(arguments, index))
        encoder = stack.enter_context(SentenceEncoder(stack.enter_context(Model.open(path))))
        if index is None:
            if not arguments.folders:
                raise OptionError(f"{arguments.out} is not there yet; give a folder to make it of")
            index = stack.enter_context(Index.make(arguments.out, encoder.made_with()))
        encoder.check(index)
        folders = [folder.resolve() for folder in arguments.folders] or _still_there(index)
        bar = stack.enter_context(ProgressBar())

        def tell(line: str) -> None:
            bar.pause()
            note(line)

        try:
            changes = update(index, folders, encoder, Progress(bar.show, "reading"), tell)
        except (KeyboardInterrupt, Cancelled):
            bar.close()
            note("interrupted; the same command goes on from what is in the index")
            raise
        bar.close()
        _tell(changes, index.count(), arguments)
    return 0


def _model_of(arguments: argparse.Namespace, index: Index | None) -> Path:
    if index is not None:
        return model_of_index(index, arguments.model)
    wanted: Path | None = arguments.model
    return wanted or _only_encoder()


def _only_encoder() -> Path:
    """The sentence encoder of the model folder. Raises OptionError unless there is one alone."""
    from rbe_edge.models import folder
    from rbe_edge.runtime.encoder_kinds import SENTENCES, kind_of_file

    found = []
    for path in folder.files():
        with suppress(ModelError):
            found += [path] if kind_of_file(path) == SENTENCES else []
    if len(found) == 1:
        note(f"by {folder.name_of(found[0])}; --model takes another")
        return found[0]
    names = " or ".join(folder.name_of(path) for path in found) or "sentence-transformers/all-MiniLM-L6-v2"
    raise OptionError(f"a new index needs a sentence encoder; give one with --model, such as {names}")


def _still_there(index: Index) -> list[Path]:
    found = []
    for folder in index.folders():
        if folder.is_dir():
            found.append(folder)
        else:
            note(f"{folder}: is not there; what the index has of it stays")
    if not found:
        raise OptionError(f"no folder of {index.path} is there; give one")
    return found


def _tell(changes: Changes, count: int, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"index": str(arguments.out), "all_passages": count, **asdict(changes)}))
        return
    words = [
        f"{number} {what}"
        for number, what in (
            (changes.added, "new"), (changes.changed, "changed"), (changes.removed, "gone"),
            (changes.unchanged, "as before"), (changes.skipped, "skipped"),
        )
        if number
    ]  # fmt: skip
    print(f"{arguments.out}: {count} passages; files: {', '.join(words) or 'none'}")
