"""Sets of characters, and how JSON writes them in a string."""

from __future__ import annotations

from collections.abc import Iterable

from rbe_edge.grammar.grammar import Chain, Choice, Literal, Node, OneOf

#: Ranges of code points, both ends in it, in ascending order, apart from one another.
CharacterSet = tuple[tuple[int, int], ...]

#: What is no surrogate.
EVERY: CharacterSet = ((0, 0xD7FF), (0xE000, 0x10FFFF))

_SHORT_ESCAPES = {0x22: b'\\"', 0x5C: b"\\\\", 8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r"}
# Code points by the length of their UTF-8.
_LENGTHS = ((0x80, 0x7FF), (0x800, 0xFFFF), (0x10000, 0x10FFFF))


def union(ranges: Iterable[tuple[int, int]]) -> CharacterSet:
    """The characters of all ranges, surrogates left out."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(part for low, high in ranges for part in _common(low, high, EVERY)):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(characters: CharacterSet) -> CharacterSet:
    """All characters but these."""
    gaps, next_one = [], 0
    for first, last in characters:
        gaps.append((next_one, first - 1))
        next_one = last + 1
    return union(gap for gap in (*gaps, (next_one, 0x10FFFF)) if gap[0] <= gap[1])


def _common(low: int, high: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(max(low, a), min(high, b)) for a, b in ranges if max(low, a) <= min(high, b)]


def written(characters: CharacterSet) -> Node:
    """One of the characters as it stands in a JSON string, each in one way: escaped only where JSON demands it."""
    plain: list[int] = []
    options: list[Node] = []
    for low, high in characters:
        for code in range(low, min(high, 0x7F) + 1):
            if code in _SHORT_ESCAPES:
                options.append(Literal(_SHORT_ESCAPES[code]))
            elif code < 0x20:
                options.append(Literal(b"\\u%04x" % code))
            else:
                plain.append(code)
        for length in _LENGTHS:
            for first, last in _common(low, high, (length,)):
                options += [Chain(*parts) for parts in _sequences(chr(first).encode(), chr(last).encode())]
    if plain:
        options.insert(0, OneOf(bytes(plain)))
    return options[0] if len(options) == 1 else Choice(*options)


def _sequences(first: bytes, last: bytes) -> list[list[Node]]:
    """The UTF-8 sequences from one to another of the same length, as chains of ranges of bytes."""
    if len(first) == 1:
        return [[_bytes(first[0], last[0])]]
    if first[0] == last[0]:
        return [[_bytes(first[0], first[0]), *rest] for rest in _sequences(first[1:], last[1:])]
    lowest, highest = b"\x80" * (len(first) - 1), b"\xbf" * (len(first) - 1)
    low, high = first[0], last[0]
    before: list[list[Node]] = []
    behind: list[list[Node]] = []
    if first[1:] != lowest:
        before = [[_bytes(low, low), *rest] for rest in _sequences(first[1:], highest)]
        low += 1
    if last[1:] != highest:
        behind = [[_bytes(high, high), *rest] for rest in _sequences(lowest, last[1:])]
        high -= 1
    between: list[Node] = [_bytes(low, high), *(_bytes(0x80, 0xBF) for _ in lowest)]
    return [*before, *([between] if low <= high else []), *behind]


def _bytes(first: int, last: int) -> OneOf:
    return OneOf(bytes(range(first, last + 1)))
