"""Text that comes piece by piece onto a terminal: its words stay whole at the end of a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO

from rbe_edge.cli.output import columns

_LEAST = 20  # columns; below that everything breaks
_TAB = 8


class WordWrap:
    """Writes a text as it comes. A word that does not fit into its line is taken back, and begins the next one. Nothing
    is changed where the stream is no terminal, or one that obeys no sequences (TERM=dumb)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._obeys = os.environ.get("TERM", "dumb") != "dumb"
        self.begin_line()

    def begin_line(self) -> None:
        """Somebody else has ended the line."""
        self._column = 0
        self._end_word()

    def _end_word(self) -> None:
        self._word, self._cells = "", 0

    def write(self, text: str) -> None:
        """text: safe to show."""
        width = columns(self._stream) if self._obeys else None
        if width is not None and width >= _LEAST:
            text = "".join(self._wrapped(text, width - 1))  # in the last column a terminal waits for what comes
        self._stream.write(text)
        self._stream.flush()

    def _wrapped(self, text: str, width: int) -> Iterator[str]:
        from rich.cells import get_character_cell_size

        for char in text:
            if char == "\n":
                yield char
                self.begin_line()
                continue
            cells = _TAB - self._column % _TAB if char == "\t" else get_character_cell_size(char)
            if char in " \t" or cells > 1:  # a line may break before a wide character
                self._end_word()
            if self._column + cells > width:
                yield self._next_line()
                if char in " \t":
                    continue
            yield char
            self._column += cells
            if char not in " \t":
                self._word += char
                self._cells += cells

    def _next_line(self) -> str:
        """What ends the line, and takes the word that is not finished onto the next one."""
        word, cells = (self._word, self._cells) if self._cells < self._column else ("", 0)
        self.begin_line()
        self._word, self._cells, self._column = word, cells, cells
        return f"\x1b[{cells}D\x1b[K\n{word}" if cells else "\n"
