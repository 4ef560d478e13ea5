"""Images of screens: what Textual exports as SVG, drawn again with less, and compared cell by cell.

Only the cells are kept, their colours and styles: no fonts from the network, no number made of the content before each
class, no window frame, no clip path for each line, and what lies side by side in one colour is one element.
"""

from __future__ import annotations

import html
import os
import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import textual

WRITES = "RBE_WRITE_SCREENS"
_CELL_WIDTH, _LINE_HEIGHT = 12.2, 24.4  # of Rich's export, in pixels
_MOST_TOLD = 12  # differences
_TEXT = re.compile(r'<text class="[^"]*-(r\d+)" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<\n]+)</text>')
_RECT = re.compile(r'<rect fill="([^"]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="24.65"')


class Cell(NamedTuple):
    """style: colour and weight of the text as CSS. back: the colour behind."""

    character: str = " "
    style: str = ""
    back: str = ""


def drawn(lines: list[list[Cell]]) -> str:
    """Cells as SVG, for any browser; cells() reads them back."""
    styles: dict[str, str] = {}
    backs, texts = [], []
    for number, line in enumerate(lines):
        y, column = number * _LINE_HEIGHT, 0
        for back, group in groupby(line, key=lambda cell: cell.back):
            width = len(list(group))
            x = column * _CELL_WIDTH
            backs.append(f'<rect fill="{back}" x="{x:g}" y="{y:g}" width="{width * _CELL_WIDTH:g}" height="24.65"/>')
            column += width
        column = 0
        for style, group in groupby(line, key=lambda cell: cell.style):
            text = _text(list(group))
            name = styles.setdefault(style, f"r{len(styles)}")
            start = column + len(text) - len(text.lstrip())
            if said := text.strip():
                where = f'x="{start * _CELL_WIDTH:g}" y="{y + 20:g}" textLength="{len(said) * _CELL_WIDTH:g}"'
                kept = html.escape(said, quote=False).replace(" ", "&#160;")
                texts.append(f'<text class="s-{name}" {where}>{kept}</text>')
            column += len(text)
    size = f"{len(lines[0]) * _CELL_WIDTH:g} {len(lines) * _LINE_HEIGHT:g}"
    return "\n".join(
        [
            f'<svg viewBox="0 0 {size}" xmlns="http://www.w3.org/2000/svg">',
            f"<!-- rbe chat, Textual {textual.__version__} -->",
            "<style>",
            "text { font: 20px monospace } rect { shape-rendering: crispEdges }",
            *(f".s-{name} {{ {style} }}" for style, name in styles.items()),
            "</style>",
            *backs,
            *texts,
            "</svg>\n",
        ]
    )


def cells(svg: str) -> list[list[Cell]]:
    """The lines of an image, Textual's or ours. The second cell of a wide character is not told from the next one."""
    styles = dict(re.findall(r"\.[\w-]+-(r\d+) \{ (.*?) \}", svg))
    backs: dict[tuple[int, int], str] = {}
    for colour, x, y, width in _RECT.findall(svg):
        first = round(float(x) / _CELL_WIDTH)
        for column in range(first, first + round(float(width) / _CELL_WIDTH)):
            backs[round(float(y) / _LINE_HEIGHT), column] = colour
    n_lines = 1 + max(line for line, _ in backs)
    n_columns = 1 + max(column for _, column in backs)
    lines = [[Cell(back=backs.get((line, column), "")) for column in range(n_columns)] for line in range(n_lines)]
    for style, x, y, text in _TEXT.findall(svg):
        line, column = round((float(y) - 20) / _LINE_HEIGHT), round(float(x) / _CELL_WIDTH)
        for at, character in enumerate(html.unescape(text).replace("\xa0", " "), start=column):
            if at < n_columns:
                lines[line][at] = Cell(character, styles[style], lines[line][at].back)
    return lines


def differences(before: list[list[Cell]], now: list[list[Cell]], *, colours: bool = True) -> list[str]:
    """What a person sees of the difference between two screens: text first, then colours, line by line."""
    if (len(before), len(before[0])) != (len(now), len(now[0])):
        return [f"{len(now[0])} columns and {len(now)} lines; the image has {len(before[0])} and {len(before)}"]
    texts: list[str] = []
    tints: list[str] = []
    for number, (old, new) in enumerate(zip(before, now, strict=True)):
        if (was := _text(old)) != (is_now := _text(new)):
            texts.append(f"line {number}: was {was.rstrip()!r}\n{'':{len(str(number)) + 7}}is  {is_now.rstrip()!r}")
        elif colours:
            tints += [f"line {number}, {tint}" for tint in _tints(old, new)]
    return texts + tints


def _text(line: list[Cell]) -> str:
    return "".join(cell.character for cell in line)


def text_lines(svg: str) -> list[str]:
    """The lines of text on an image."""
    return [_text(line) for line in cells(svg)]


def _tints(old: list[Cell], new: list[Cell]) -> list[str]:
    """The changes of colours in a line, with the words that changed so."""
    changed: dict[tuple[str, str], dict[int, str]] = {}
    for column, (a, b) in enumerate(zip(old, new, strict=True)):
        change = (_tint(a), _tint(b))
        if change[0] != change[1]:
            changed.setdefault(change, {})[column] = b.character
    return [
        f"columns {min(said)} to {max(said)} {''.join(said.values()).strip()!r}: was {was}, is {is_now}"
        for (was, is_now), said in changed.items()
    ]


def _tint(cell: Cell) -> str:
    return f"{cell.style} on {cell.back}" if cell.character.strip() else f"on {cell.back}"


def check_image(svg: str, path: Path, directory: Path) -> None:
    """Fails where the screen is not as in the image, and says where it differs; the new image then lies in `directory`.
    Another Textual has other colours, so only with that of the image are they compared."""
    now = cells(svg)
    found = drawn(now)
    if os.environ.get(WRITES):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    made_with = re.search(r"Textual (\d+\.\d+)", expected)
    same = made_with is not None and textual.__version__.startswith(f"{made_with[1]}.")
    wrong = differences(cells(expected), now, colours=same)
    if wrong:
        new = directory / path.name
        new.write_text(found, encoding="utf-8")
        more = [f"and {len(wrong) - _MOST_TOLD} more"] if len(wrong) > _MOST_TOLD else []
        told = "\n".join([*wrong[:_MOST_TOLD], *more])
        raise AssertionError(f"{path.name} has changed; it is now as {new}. Meant? {WRITES}=1 renews it.\n{told}")
