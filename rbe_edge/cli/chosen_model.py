"""The model that a command line names, whatever it is: a `.rbe` file, a source that is packed once, a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.output import ProgressBar, ended_in_order, note
from rbe_edge.errors import OptionError

if TYPE_CHECKING:
    from rbe_edge.models.find import Waiter
    from rbe_edge.search.index import Index

#: For the help of FILE, where a command takes any of them.
WHAT = "a .rbe file; a GGUF file or directory, packed once; org/name of the hub; or a name of `rbe list`"


def chosen_model(wanted: Path) -> Path:
    """The `.rbe` file. What is packed for it shows how long it takes. Raises as models/find.py."""
    from rbe_edge.models.find import find_model

    with waiting() as waiter:
        return find_model(wanted, waiter)


@contextmanager
def waiting() -> Iterator[Waiter]:
    """For the time that a model may be packed in: lines, a bar, and an end in order."""
    from rbe_edge.models.find import Waiter

    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        note(line)

    try:
        with ended_in_order(), ProgressBar(in_ms=True) as bar:
            yield Waiter(tell, bar.show)
    except (KeyboardInterrupt, SystemExit):
        if told:
            note("interrupted; the same command goes on from what is finished")
        raise


def check_converses_file(path: Path) -> None:
    """Raises ModelError for a model that holds no conversation, before the screen is the client's. The client tells
    why a file cannot be opened."""
    from rbe_edge.errors import RbeError
    from rbe_edge.runtime.encoder_kinds import check_converses
    from rbe_edge.runtime.model import Model

    try:
        model = Model.open(path, verify=False)
    except RbeError:
        return
    with model:
        check_converses(model)


def model_of_index(index: Index, wanted: Path | None) -> Path:
    """What --model names, else the model that an index was made with. Raises OptionError where that is gone."""
    path = wanted or Path(index.made_with.path)
    if wanted is None and not path.is_file():
        raise OptionError(
            f"{index.path} was made with {path}, which is not there any more; say with --model where it is"
        )
    return path


def is_demo(path: Path | None) -> bool:
    """Whether it is the demo model; None is."""
    from rbe_edge.runtime.model import demo_path

    return path is None or path == demo_path()
