"""The model that a command line names, whatever it is: a `.rbe` file, a source that is packed once, a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.output import ProgressBar, ended_in_order, note

if TYPE_CHECKING:
    from rbe_edge.models.find import Waiter

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


def check_writes(path: Path) -> None:
    """Raises ModelError for an encoder, which says what to do with it, and for what cannot be opened."""
    from rbe_edge.runtime import encoder_kinds
    from rbe_edge.runtime.model import Model

    with Model.open(path, verify=False) as model:
        encoder_kinds.check_writes(model)


def check_converses(path: Path) -> None:
    """The same, and for a model that answers to a single text. Who opens it tells why it cannot be opened."""
    from rbe_edge.errors import RbeError
    from rbe_edge.runtime import encoder_kinds
    from rbe_edge.runtime.model import Model

    try:
        model = Model.open(path, verify=False)
    except RbeError:
        return
    with model:
        encoder_kinds.check_converses(model)


def is_demo(path: Path | None) -> bool:
    """Whether it is the demo model; None is."""
    from rbe_edge.runtime.model import demo_path

    return path is None or path == demo_path()
