"""What a packed model is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rbe_edge.cli.output import ProgressBar
from rbe_edge.files.scratch import scratch_directory

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model


@contextmanager
def opened_source(source: str) -> Iterator[Model]:
    """The source in the engine: a .rbe file as it is, anything else packed without loss into a temporary file."""
    from rbe_edge.runtime.model import Model

    if source.endswith(".rbe"):
        with Model.open(source) as model:
            yield model
        return
    from rbe_edge.packing.pack import PackOptions, pack

    with scratch_directory("eval") as directory:
        path = directory / "source.rbe"
        with ProgressBar() as bar:
            pack(source, path, PackOptions(bits=32), bar.show)
        with Model.open(path, verify=False) as model:
            yield model
