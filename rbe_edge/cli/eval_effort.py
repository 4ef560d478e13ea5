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
    if arguments.power in (None, "performance"):
        return None
    if arguments.read_planes:
        raise OptionError("--power and --read-planes both say what is read; give one of them")
    effort = model.effort(MODE_NAMES.index(arguments.power))
    if effort is None:
        raise OptionError(f"{arguments.file}: has no table of power modes; `rbe eval FILE --power all` makes one")
    return effort
