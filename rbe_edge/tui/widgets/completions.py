"""What may be meant by what is being written, above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from rbe_edge.terminal_text import one_line

_MOST = 200
_WIDTH = 24  # of the texts, where something is told of them


@dataclass(frozen=True)
class Completion:
    """text: what takes the place of the last `replaced` characters before the cursor. what: it is. sends: whether the
    message is whole then."""

    text: str
    replaced: int
    what: str = ""
    sends: bool = False


class Completions(OptionList, can_focus=False):
    """Shown while there are some. The prompt keeps the focus, and moves the mark."""

    def __init__(self) -> None:
        super().__init__(id="completions", markup=False, compact=True)
        self._found: list[Completion] = []
        self._text = ""
        self.display = False

    def show(self, found: Sequence[Completion], text: str = "") -> None:
        """text: before the cursor, to which they belong."""
        self._text = text
        if list(found) == self._found:
            return
        self._found = list(found[:_MOST])
        self.display = bool(found)
        self.clear_options()
        self.add_options([Option(_line(completion)) for completion in self._found])
        self.highlighted = 0 if found else None

    def move(self, direction: int) -> None:
        if self._found:
            self.highlighted = ((self.highlighted or 0) + direction) % len(self._found)

    def chosen(self, text: str) -> Completion | None:
        """The marked one; None where nothing is shown for this text: a person may type faster than it is shown."""
        return self._found[self.highlighted or 0] if self._found and text == self._text else None

    def at(self, index: int) -> Completion:
        return self._found[index]


def _line(completion: Completion) -> Content:
    if not completion.what:
        return Content(one_line(completion.text, 70))
    return Content(f"{one_line(completion.text, _WIDTH):<{_WIDTH}} ") + Content(completion.what).stylize("dim")
