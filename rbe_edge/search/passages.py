"""Cuts a text into passages that a model reads at once.

A passage is of whole paragraphs, as many as fit; the next one begins with the last paragraph again where that is short,
so that what stands around a cut is found too. A heading begins a passage of its own, unless the one before is short. A
paragraph that is too long is cut behind sentences, and a sentence behind words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_SENTENCES = re.compile(r"(?<=[.!?])[ \t]+|\n")
_HEADING = re.compile(r"#{1,6} |={3,}$|-{3,}$")
_OVERLAP = 6  # of a passage's tokens, the part that is repeated at most
_SHORT = 4  # and that which a passage has at least before a heading ends it

Count = Callable[[str], int]
"""Tokens of a text, without those that stand around every text."""


@dataclass(frozen=True)
class Passage:
    """line: where it begins, from 1."""

    line: int
    text: str


@dataclass(frozen=True)
class _Piece:
    """What is never cut further. breaks: a paragraph begins with it."""

    line: int
    text: str
    tokens: int
    breaks: bool

    @property
    def is_heading(self) -> bool:
        return self.breaks and _HEADING.match(self.text) is not None


def passages(text: str, count: Count, most: int) -> list[Passage]:
    """The passages of a text, none of which has more than about `most` tokens, 8 or more: joined pieces are counted
    one by one. A text without a word has none."""
    found: list[Passage] = []
    current: list[_Piece] = []
    for piece in _pieces(text, count, most):
        total = sum(one.tokens for one in current)
        if current and (total + piece.tokens > most or (piece.is_heading and total >= most // _SHORT)):
            ended, current = _ended(current, piece, most)
            found.append(_joined(ended))
        current.append(piece)
    if current:
        found.append(_joined(current))
    return found


def _ended(current: list[_Piece], following: _Piece, most: int) -> tuple[list[_Piece], list[_Piece]]:
    """The pieces of the passage that ends, and those with which the next one begins."""
    if len(current) > 1 and current[-1].is_heading:  # it belongs to what follows
        return current[:-1], current[-1:] if current[-1].tokens + following.tokens <= most else []
    carried: list[_Piece] = []
    room = 0 if following.is_heading else min(most // _OVERLAP, most - following.tokens)
    for piece in reversed(current[1:]):
        if piece.tokens > room or piece.is_heading:
            break
        room -= piece.tokens
        carried.insert(0, piece)
    return current, carried


def _joined(pieces: Sequence[_Piece]) -> Passage:
    text = pieces[0].text
    for piece in pieces[1:]:
        text += ("\n\n" if piece.breaks else "\n") + piece.text
    return Passage(pieces[0].line, text)


def _pieces(text: str, count: Count, most: int) -> Iterator[_Piece]:
    for line, paragraph in _paragraphs(text):
        tokens = count(paragraph)
        if tokens <= most:
            yield _Piece(line, paragraph, tokens, True)
        else:
            yield from _parts(line, paragraph, count, most)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Runs of lines that are not blank, each with the number of its first line."""
    first, lines = 0, list[str]()
    for number, line in enumerate([*text.replace("\r\n", "\n").split("\n"), ""], 1):
        if line.strip():
            first = first if lines else number
            lines.append(line.rstrip())
        elif lines:
            yield first, "\n".join(lines)
            lines = []


def _parts(line: int, paragraph: str, count: Count, most: int) -> Iterator[_Piece]:
    """A long paragraph in sentences and lines, several together while they fit."""
    part, part_line, part_tokens, breaks = "", line, 0, True
    for number, sentence in _sentences(line, paragraph):
        for words in _fitting(sentence, count, most):
            tokens = count(words)
            if part and part_tokens + tokens > most // _OVERLAP:
                yield _Piece(part_line, part, part_tokens, breaks)
                part, part_tokens, breaks = "", 0, False
            part_line = part_line if part else number
            part = f"{part} {words}" if part else words
            part_tokens += tokens
    if part:
        yield _Piece(part_line, part, part_tokens, breaks)


def _sentences(line: int, paragraph: str) -> Iterator[tuple[int, str]]:
    start = counted = 0
    for match in [*_SENTENCES.finditer(paragraph), None]:
        end = len(paragraph) if match is None else match.start()
        sentence = paragraph[start:end].strip()
        line += paragraph.count("\n", counted, start)
        counted = start
        if sentence:
            yield line, sentence
        start = end if match is None else match.end()


def _fitting(text: str, count: Count, most: int) -> Iterator[str]:
    """The text, halved between words, or within one, until each part fits."""
    if len(text) < 2 or count(text) <= most:
        yield text
        return
    middle = text.rfind(" ", 1, len(text) // 2 + 1)
    middle = len(text) // 2 if middle < 0 else middle
    yield from _fitting(text[:middle].rstrip(), count, most)
    yield from _fitting(text[middle:].lstrip(), count, most)
