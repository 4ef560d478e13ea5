"""Markdown as styled text: one block, one Content.

Textual's own Markdown makes a widget of each list item and cell, one to two milliseconds each, which stops the screen
for tenths of a second while a list or a table grows. A block as one text costs as much as a paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.token import Token
from textual.content import Content, Span
from textual.highlight import highlight

# Highlighting runs over a whole block of code with each new piece of it. Without a language, every known one would be
# tried.
_MOST_HIGHLIGHTED = 4000
_BULLETS = "•▪‣◦"
_INLINE = {"em": "italic", "strong": "bold", "s": "strike"}


def prepare() -> None:
    """Loads what colours code, which takes a tenth of a second the first time. Any thread."""
    highlight("x = 1", language="python")


def block_content(tokens: Sequence[Token]) -> Content:
    """The tokens of one block of the highest level."""
    writer = _Writer()
    for token in tokens:
        writer.take(token)
    return Content("\n").join(writer.lines)


class _Writer:
    """Takes tokens in turn; `lines` is what they say so far."""

    def __init__(self) -> None:
        self.lines: list[Content] = []
        self._prefixes: list[str] = []  # of the lists and quotations around
        self._marker: str | None = None  # of a list item whose first line is still to come
        self._numbers: list[int | None] = []  # the next number of each ordered list around, None for bullets
        self._style = ""
        self._rows: list[list[Content]] = []

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
            self._prefixes.pop()
        elif kind == "heading_open":
            self._style = "bold underline $text-primary" if token.tag in ("h1", "h2") else "bold $text-primary"
        elif kind == "heading_close":
            self._style = ""
        elif kind == "paragraph_open" and self.lines and not token.hidden and self._marker is None:
            self._write(Content(""))
        elif kind == "tr_open":
            self._rows.append([])
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
        self._marker = marker
        self._prefixes.append(" " * len(marker))

    def _take_text(self, text: Content) -> None:
        if self._rows:
            self._rows[-1].append(text)
        else:
            self._write(text.stylize(self._style) if self._style else text)

    def _write(self, text: Content) -> None:
        for line in text.split("\n", allow_blank=True):
            prefix = "".join(self._prefixes)
            if self._marker is not None:
                prefix = prefix[: len(prefix) - len(self._marker)] + self._marker
                self._marker = None
            self.lines.append(Content(prefix) + line)

    def _write_table(self) -> None:
        """Columns as wide as their widest cell."""
        rows, self._rows = self._rows, []
        widths = [max(cells) for cells in zip(*([cell.cell_length for cell in row] for row in rows), strict=False)]
        for index, row in enumerate(rows):
            cells = [cell.pad_right(width - cell.cell_length) for cell, width in zip(row, widths, strict=False)]
            line = Content(" │ ").join(cells)
            self._write(line.stylize("bold") if index == 0 else line)
            if index == 0:
                self._write(Content("─┼─".join("─" * width for width in widths)))


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
