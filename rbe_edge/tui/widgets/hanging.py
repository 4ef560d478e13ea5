"""Lines that wrap under their own text, not under the marks of lists and quotations before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.css.styles import RulesMap
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

#: A line has at least so much room behind its marks; where there is less it wraps under them.
_LEAST = 12


@dataclass(frozen=True)
class Line:
    """mark: what stands before the first line of the text; rest: before those that it wraps into, as wide."""

    text: Content
    mark: str = ""
    rest: str = ""

    @property
    def whole(self) -> Content:
        """Unwrapped."""
        return Content(self.mark) + self.text if self.mark else self.text

    def wrapped(self, width: int) -> Iterator[Content]:
        room = width - cell_len(self.mark)
        if not self.mark or room < _LEAST or self.text.cell_length <= room:
            yield self.whole
            return
        for number, part in enumerate(self.text.divide(breaks(self.text.plain, room))):
            yield Content(self.rest if number else self.mark) + part.rstrip()


class Hanging(Visual):
    """Several such lines. Its text is that of the lines, unwrapped."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = tuple(lines)
        self._width = -1
        self._laid = Content("")

    def __str__(self) -> str:
        return "\n".join(line.whole.plain for line in self._lines)

    @property
    def laid(self) -> Content:
        """As it was shown last."""
        return self._laid

    def _at(self, width: int) -> Content:
        if width != self._width:
            self._laid = Content("\n").join([part for line in self._lines for part in line.wrapped(width)])
            self._width = width
        return self._laid

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        return self._at(width).render_strips(width, height, style, options)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return max((line.whole.cell_length for line in self._lines), default=0)

    def get_minimal_width(self, rules: RulesMap) -> int:
        return _LEAST

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self._at(width).get_height(rules, width)


def breaks(text: str, width: int) -> list[int]:
    """Where a text is broken so that no line is wider, at words, and within those that are wider than a line."""
    found: list[int] = []
    used = 0
    for word in re.finditer(r"\S+\s*|\s+", text):
        bare = cell_len(word[0].rstrip())
        if used and used + bare > width:
            found.append(word.start())
            used = 0
        if bare > width:
            for at, character in enumerate(word[0], start=word.start()):
                if used + cell_len(character) > width and not character.isspace():
                    found.append(at)
                    used = 0
                used += cell_len(character)
        else:
            used += cell_len(word[0])
    return [at for at in dict.fromkeys(found) if 0 < at < len(text)]
