"""Markdown as styled text: one block, one Content.

Textual's own Markdown makes a widget of each list item and cell, one to two milliseconds each, which stops the screen
for tenths of a second while a list or a table grows. A block as one text costs as much as a paragraph.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html import unescape

from markdown_it.token import Token
from textual.content import Content, Span
from textual.highlight import highlight

from rbe_edge.terminal_text import printable
from rbe_edge.tui.widgets.hanging import Line

# Highlighting runs over a whole block of code with each new piece of it. Without a language, every known one would be
# tried.
_MOST_HIGHLIGHTED = 4000
_BULLETS = "•▪‣◦"
_HEADINGS = {"h1": "bold underline $text-primary", "h2": "bold $text-primary", "h3": "bold $text-secondary"}
_BOXES = {"[ ] ": "☐ ", "[x] ": "☑ ", "[X] ": "☑ "}
_INLINE = {"em": "italic", "strong": "bold", "s": "strike"}


def prepare() -> None:
    """Loads what colours code, which takes a tenth of a second the first time. Any thread."""
    highlight("x = 1", language="python")


def block_lines(tokens: Sequence[Token]) -> list[Line]:
    """The tokens of one block of the highest level."""
    writer = _Writer()
    for token in tokens:
        writer.take(token)
    return writer.lines


class _Writer:
    """Takes tokens in turn; `lines` is what they say so far."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._prefixes: list[str] = []  # of the lists and quotations around
        self._markers: dict[int, str] = {}  # by prefix, of list items whose first line is still to come
        self._numbers: list[int | None] = []  # the next number of each ordered list around, None for bullets
        self._style = ""
        self._rows: list[list[Content]] = []
        self._sides: list[str] = []  # of the columns of a table

    def take(self, token: Token) -> None:
        kind = token.type
        if kind in ("bullet_list_open", "ordered_list_open"):
            start = token.attrs.get("start", 1)
            self._numbers.append((start if isinstance(start, int) else 1) if kind == "ordered_list_open" else None)
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self._numbers.pop()
        elif kind == "list_item_open":
            self._begin_item()
        elif kind == "blockquote_open":
            self._prefixes.append("▌ ")
        elif kind in ("list_item_close", "blockquote_close"):
            if len(self._prefixes) - 1 in self._markers:  # an empty item is an item
                self._write(Content(""))
            self._prefixes.pop()
        elif kind == "heading_open":
            self._style = _HEADINGS.get(token.tag, "italic $text-secondary")
        elif kind == "heading_close":
            self._style = ""
        elif kind == "paragraph_open" and self.lines and not token.hidden and not self._markers:
            self._write(Content(""))
        elif kind == "tr_open":
            self._rows.append([])
        elif kind == "th_open":
            self._sides.append(str(token.attrs.get("style", "")).removeprefix("text-align:"))
        elif kind == "table_close":
            self._write_table()
        elif kind == "inline":
            self._take_text(_inline(token))
        elif kind in ("fence", "code_block"):
            self._write(_code(token).rstrip())
        elif kind == "hr":
            self._write(Content("─" * 24))

    def _begin_item(self) -> None:
        number = self._numbers[-1]
        marker = _BULLETS[(len(self._numbers) - 1) % len(_BULLETS)] + " "
        if number is not None:
            marker = f"{number}. "
            self._numbers[-1] = number + 1
        self._markers[len(self._prefixes)] = marker
        self._prefixes.append(" " * len(marker))

    def _take_text(self, text: Content) -> None:
        box = _BOXES.get(text.plain[:4])
        if box and len(self._prefixes) - 1 in self._markers:  # the first words of an item: it is a task
            depth = len(self._prefixes) - 1
            self._markers[depth], self._prefixes[depth] = box, " " * len(box)
            text = text[4:]
        if self._rows:
            self._rows[-1].append(text)
        else:
            self._write(text.stylize(self._style) if self._style else text)

    def _write(self, text: Content) -> None:
        for line in text.split("\n", allow_blank=True):
            marked = (self._markers.get(depth, prefix) for depth, prefix in enumerate(self._prefixes))
            self.lines.append(Line(line, "".join(marked), "".join(self._prefixes)))
            self._markers.clear()

    def _write_table(self) -> None:
        """Columns as wide as their widest cell, each to its side."""
        rows, self._rows = self._rows, []
        sides, self._sides = self._sides, []
        widths = [max(cells) for cells in zip(*([cell.cell_length for cell in row] for row in rows), strict=False)]
        for index, row in enumerate(rows):
            cells = [_padded(*cell) for cell in zip(row, widths, sides, strict=False)]
            line = Content(" │ ").join(cells)
            self._write(line.stylize("bold") if index == 0 else line)
            if index == 0:
                self._write(Content("─┼─".join("─" * width for width in widths)))


def _padded(cell: Content, width: int, side: str) -> Content:
    """side: left, right, center, or "" for left."""
    room = width - cell.cell_length
    left = room if side == "right" else room // 2 if side == "center" else 0
    return cell.pad_left(left).pad_right(room - left)


_TASK = re.compile(r"^([ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)+)\[[xX]\](?=[ \t])", re.MULTILINE)


def hides(source: str, shown: str, *, table: bool) -> bool:
    """Whether letters of a block's source are not shown, such as cells of a table behind its last column; of a table
    digits count too (items of lists are numbered anew). One word behind a fence, the language, may stay away."""
    first, _, rest = source.partition("\n")
    if re.fullmatch(r"\W*(```+|~~~+)[ \t]*[\w+#.-]{0,20}[ \t]*", first):
        source = rest
    source = _TASK.sub(r"\1", source)  # its x is shown as a box
    counted = str.isalnum if table else str.isalpha
    missing = Counter(filter(counted, printable(unescape(source))))
    missing.subtract(filter(counted, shown))
    return any(count > 0 for count in missing.values())


def _inline(token: Token) -> Content:
    """Text with its emphasis."""
    parts: list[str] = []
    spans: list[Span] = []
    open_styles: list[tuple[str, int]] = []
    length = 0
    for child in token.children or ():
        text = child.content
        if child.type in ("softbreak", "hardbreak"):
            text = " " if child.type == "softbreak" else "\n"
        name, _, end = child.type.rpartition("_")
        if end == "open":
            open_styles.append((_INLINE.get(name, ""), length))
        elif end == "close" and open_styles:
            style, start = open_styles.pop()
            spans.append(Span(start, length, style))
        elif child.type == "code_inline":
            spans.append(Span(length, length + len(text), "$text-warning"))
        parts.append(text)
        length += len(text)
    return Content("".join(parts), spans=[span for span in spans if span.style])


def _code(token: Token) -> Content:
    """A block of code, in colours while it is short."""
    code, language = token.content.rstrip("\n"), token.info.strip().split(" ")[0]
    if not language or len(code) > _MOST_HIGHLIGHTED:
        return Content(code)
    return highlight(code, language=language)
