"""How much of a model `rbe eval` reads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rbe_edge.errors import OptionError
from rbe_edge.format.modes import MODE_NAMES

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model


def effort_of(model: Model, arguments: argparse.Namespace) -> Effort | None:
    """Of the mode that is asked for; None: the whole model. Raises OptionError where the file has no such mode."""
    from rbe_edge.runtime.effort import Effort

    if arguments.power in (None, "performance"):
        return None
    if arguments.read_planes:
        raise OptionError("--power and --read-planes both say what is read; give one of them")
    if model.modes is None:
        raise OptionError(f"{arguments.file}: has no table of power modes; `rbe eval FILE --power all` makes one")
    return Effort.of_mode(model.modes.modes[MODE_NAMES.index(arguments.power)])
