"""`rbe list`: the models of this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rbe_edge.cli.output import columns, printable, size
from rbe_edge.errors import RbeError
from rbe_edge.models import folder

_EXAMPLE = """\
example:
  rbe list          then: rbe chat, show or rm NAME, rbe cp NAME NEW
  rbe list /media/card/models --json
"""


_LEAST = 12  # characters of a path; less says nothing


@dataclass(frozen=True)
class ListedModel:
    """A .rbe file. name: by which commands find it where it lies in the model folder, else of the file. model: what it
    was packed from, where it says so, else as name. kind: of an encoder (runtime/encoder_kinds.py). error: why it
    cannot be opened; all numbers are None then."""

    path: str
    name: str
    bytes: int
    model: str = ""
    bits_per_weight: float | None = None
    parameters: int | None = None
    context: int | None = None
    kind: str | None = None
    error: str | None = None


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "list",
        help="list the models of this machine",
        description="Lists the .rbe files of the model directory, of the current directory, and the demo model.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directories", metavar="DIRECTORY", type=Path, nargs="*", help="look there instead")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    models = list(find_models(arguments.directories))
    if arguments.json:
        print(json.dumps({"model_directory": str(models_directory()), "models": [asdict(model) for model in models]}))
        return 0
    for line in _table(models, columns(sys.stdout)):
        print(line)
    if not models:
        where = ", ".join(map(str, arguments.directories)) or f"{models_directory()} or here"
        print(f"no models in {printable(where)}; make one: rbe pack MODEL, or rbe pull", file=sys.stderr)
    return 0


def models_directory() -> Path:
    """The model folder, which need not exist."""
    return folder.directory()


def find_models(directories: Iterable[Path] = ()) -> Iterable[ListedModel]:
    """The .rbe files of the directories; without any, of the model directory and the current one, and the demo. Raises
    RbeError for a directory that was given and cannot be read."""
    from rbe_edge.runtime.model import demo_path

    given = list(directories)
    seen = set()
    for directory in given or [models_directory(), Path()]:
        try:
            paths = sorted(path for path in directory.iterdir() if path.suffix == ".rbe" and path.is_file())
        except OSError as error:
            if given:
                raise RbeError(f"{directory}: {error.strerror}; give a directory that holds .rbe files") from None
            continue
        for path in paths:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield _describe(path)
    if not given:
        try:
            demo = demo_path()
        except RbeError:
            return
        if demo.resolve() not in seen:
            yield _describe(demo)


def _describe(path: Path) -> ListedModel:
    from rbe_edge.runtime.encoder_kinds import kind_of
    from rbe_edge.runtime.model import Model

    try:
        n_bytes = path.stat().st_size
        with Model.open(path, verify=False) as model:
            info = model.info
            stored = model.metadata.get("name")
            return ListedModel(
                path=str(path),
                name=_name(path),
                bytes=n_bytes,
                model=stored if isinstance(stored, str) and stored else path.stem,
                bits_per_weight=round(info.bits_per_weight, 3),
                parameters=info.parameters,
                context=info.context,
                kind=kind_of(model),
            )
    except OSError as error:
        return ListedModel(path=str(path), name=_name(path), bytes=0, error=error.strerror or str(error))
    except RbeError as error:
        return ListedModel(path=str(path), name=_name(path), bytes=n_bytes, error=str(error))


def _name(path: Path) -> str:
    """What to call it on a command line."""
    from rbe_edge.runtime.model import demo_path

    if path.parent == models_directory():
        return folder.name_of(path)
    try:
        return "demo" if path == demo_path() else path.name
    except RbeError:
        return path.name


def _table(models: list[ListedModel], room: int | None) -> Iterable[str]:
    """room: characters of a line on the terminal, which shortens the paths; None where nothing is to be shortened."""
    if not models:
        return
    width = max(4, *(len(model.name) for model in models))
    heads = f"{'name':<{width}} {'size':>10} {'bits/weight':>11} {'weights':>9} {'context':>7}  "
    kinds = max((len(model.kind or "") for model in models), default=0)
    heads += f"{'kind':<{kinds}}  " if kinds else ""
    yield heads + "file" if room is None or room - len(heads) >= _LEAST else heads.rstrip()
    for model in models:
        name, path = (printable(text.replace("\n", " ")) for text in (model.name, model.path))
        if model.error is not None:
            error = printable(model.error.replace("\n", " "))
            yield f"{name:<{width}} {size(model.bytes):>10}  cannot be opened: {error}"
            continue
        before = (
            f"{name:<{width}} {size(model.bytes):>10} {model.bits_per_weight:>11.2f} "
            f"{_short(model.parameters or 0):>9} {model.context:>7}  "
        )
        before += f"{model.kind or '':<{kinds}}  " if kinds else ""
        left = len(path) if room is None else room - len(before)
        if room is not None and left < _LEAST:
            yield before.rstrip()
        else:  # the end says most
            yield before + (path if len(path) <= left else "…" + path[len(path) - left + 1 :])


def _short(count: int) -> str:
    """134515008 -> '134.5M'."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)
