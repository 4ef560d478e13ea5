"""Regular expressions of JSON Schema (`pattern`) into grammars of JSON strings.

What is read is ECMAScript's syntax without what is not regular: characters, escapes, classes, groups, alternatives,
counts, and anchors at the very ends. The expression becomes a deterministic automaton at once, within bounds. So each
character costs the same, and no expression can become expensive later.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rbe_edge.grammar import grammar
from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.characters import EVERY, CharacterSet, complement, union, written
from rbe_edge.grammar.grammar import Chain, Choice, GrammarError, Node, OneOf, Reference, Repeat

_MAX_LENGTH = 1000  # characters of a pattern
_MAX_DEPTH = 50  # groups in groups
_MAX_COUNT = 1000  # in {m,n}
_MAX_STATES = 10_000
_READING = 10  # units of work for each character of a pattern


class PatternError(Exception):
    """A pattern that is malformed, not supported, or takes too much memory."""


@dataclass
class Budget:
    """Work that reading patterns may still take, about a microsecond a unit."""

    left: float = 300_000

    def spend(self, units: float) -> None:
        self.left -= units
        if self.left < 0:
            raise PatternError(
                "reading it takes too long; make its counts smaller, or tie it to its ends by `^` and `$`"
            )


_DIGITS: CharacterSet = ((0x30, 0x39),)
_WORDS = union([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
_LINE_ENDS = union([(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)])
_BLANKS = union(
    [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
     (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
)  # fmt: skip
_CLASS_ESCAPES = {
    "d": _DIGITS, "w": _WORDS, "s": _BLANKS,
    "D": complement(_DIGITS), "W": complement(_WORDS), "S": complement(_BLANKS),
}  # fmt: skip
_CONTROL_ESCAPES = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}


class _Part(NamedTuple):
    """A part of an expression: whether the empty text fits, and a node of all others that do, where there are any."""

    empty: bool
    some: Node | None

    def node(self) -> Node:
        if self.some is None:
            return Chain() if self.empty else Choice()
        return Repeat(self.some, 0, 1) if self.empty else self.some


_NOTHING = _Part(True, None)


def _either(parts: list[_Part]) -> _Part:
    nodes = [part.some for part in parts if part.some is not None]
    some = nodes[0] if len(nodes) == 1 else Choice(*nodes) if nodes else None
    return _Part(any(part.empty for part in parts), some)


def _both(first: _Part, then: _Part) -> _Part:
    if first == _NOTHING:
        return then
    long = _Part(False, Chain(first.some, then.node()) if first.some is not None else None)
    return _either([long, then]) if first.empty else long


def _repeated(part: _Part, low: int, high: int | None) -> _Part:
    low = 0 if part.empty else low
    if high == 0 or part.some is None:
        return _Part(low == 0, None)
    return _Part(low == 0, Repeat(part.some, max(low, 1), high))


class _Reader:
    """Reads an expression. leaf: the node of a set of characters."""

    def __init__(self, text: str, leaf: Callable[[CharacterSet], Node]) -> None:
        self._text, self._leaf = text, leaf
        self._at = self._depth = 0

    def read(self) -> _Part:
        found = self._alternatives()
        if self._at < len(self._text):
            raise PatternError("a `)` without its `(`")
        return found

    def _next(self, expected: str) -> bool:
        """Goes over the text that is expected, where it is there."""
        there = self._text.startswith(expected, self._at)
        self._at += len(expected) if there else 0
        return there

    def _taken(self) -> str:
        if self._at == len(self._text):
            raise PatternError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _set(self, characters: CharacterSet) -> _Part:
        return _Part(False, self._leaf(characters) if characters else None)

    def _alternatives(self) -> _Part:
        options = [self._sequence()]
        while self._next("|"):
            options.append(self._sequence())
        return _either(options)

    def _sequence(self) -> _Part:
        """Without anchors anything may stand before and behind."""
        anything = _repeated(self._set(EVERY), 0, None)
        top = self._depth == 0
        items = [] if not top or self._next("^") else [anything]
        while self._at < len(self._text) and self._text[self._at] not in "|)$":
            items.append(self._counted(self._atom()))
        if top and not self._next("$"):
            items.append(anything)
        if self._at < len(self._text) and self._text[self._at] not in "|)":
            raise PatternError("`^` and `$` are supported at the ends of the whole, or of its alternatives")
        found = _NOTHING
        for item in reversed(items):
            found = _both(item, found)
        return found

    def _counted(self, part: _Part) -> _Part:
        low: int
        high: int | None
        if self._next("*"):
            low, high = 0, None
        elif self._next("+"):
            low, high = 1, None
        elif self._next("?"):
            low, high = 0, 1
        elif self._next("{"):
            low, high = self._counts()
        else:
            return part
        self._next("?")  # as few as possible: the same texts
        return _repeated(part, low, high)

    def _counts(self) -> tuple[int, int | None]:
        low = self._count()
        high = low
        if self._next(","):
            if self._next("}"):
                return low, None
            high = self._count()
        if not self._next("}") or low > high:
            raise PatternError("counts are written {m}, {m,} or {m,n}, with m up to n")
        return low, high

    def _count(self) -> int:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in string.digits:
            self._at += 1
        digits = self._text[start : self._at]
        if not digits or len(digits) > 9 or int(digits) > _MAX_COUNT:
            raise PatternError(f"a count must be a number up to {_MAX_COUNT}")
        return int(digits)

    def _atom(self) -> _Part:
        letter = self._taken()
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._set(self._class())
        if letter == ".":
            return self._set(complement(_LINE_ENDS))
        if letter == "\\":
            return self._set(self._escape())
        if letter in "*+?{":
            raise PatternError(f"there is nothing that `{letter}` could repeat")
        if letter == "^":
            raise PatternError("`^` and `$` are supported at the ends of the whole, or of its alternatives")
        return self._set(((ord(letter), ord(letter)),))

    def _group(self) -> _Part:
        if self._next("?") and not self._next(":"):
            if not self._next("<") or self._text[self._at : self._at + 1] in ("=", "!"):
                raise PatternError("behind `(?` only `:` and `<name>` are supported; looking ahead and back are not")
            while self._taken() != ">":  # a name
                pass
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"groups are nested more than {_MAX_DEPTH} deep")
        found = self._alternatives()
        self._depth -= 1
        if not self._next(")"):
            raise PatternError("a `(` without its `)`")
        return found

    def _class(self) -> CharacterSet:
        negated = self._next("^")
        ranges: list[tuple[int, int]] = []
        while not self._next("]"):
            first = self._class_member()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._class_member()
                if not _single(first) or not _single(last) or first[0][0] > last[0][0]:
                    raise PatternError("a range in `[]` is of one character to a later one")
                first = ((first[0][0], last[0][0]),)
            ranges += first
        found = union(ranges)
        return complement(found) if negated else found

    def _class_member(self) -> CharacterSet:
        letter = self._taken()
        if letter != "\\":
            return ((ord(letter), ord(letter)),)
        return ((8, 8),) if self._next("b") else self._escape()

    def _escape(self) -> CharacterSet:
        letter = self._taken()
        if letter in _CLASS_ESCAPES:
            return _CLASS_ESCAPES[letter]
        if letter in _CONTROL_ESCAPES:
            code = _CONTROL_ESCAPES[letter]
        elif letter in "xu":
            code = self._code(letter, 2 if letter == "x" else 4)
        elif letter.isalnum():
            raise PatternError(f"`\\{letter}` is not supported")
        else:
            code = ord(letter)
        if 0xD800 <= code <= 0xDFFF:
            raise PatternError("half of a surrogate pair is no character; write the character itself")
        return ((code, code),)

    def _code(self, letter: str, length: int) -> int:
        digits = self._text[self._at : self._at + length]
        if len(digits) < length or not all(digit in string.hexdigits for digit in digits):
            raise PatternError(f"`\\{letter}` needs {length} hexadecimal digits")
        self._at += length
        return int(digits, 16)


def _single(characters: CharacterSet) -> bool:
    return len(characters) == 1 and characters[0][0] == characters[0][1]


def string_that_fits(pattern: str, low: int = 0, high: int | None = None, budget: Budget | None = None) -> Node:
    """A JSON string of low to high characters in which the pattern is found. Raises PatternError."""
    if len(pattern) > _MAX_LENGTH:
        raise PatternError(f"it is longer than {_MAX_LENGTH} characters")
    budget = budget or Budget()
    budget.spend(_READING * len(pattern))
    sets: dict[CharacterSet, None] = {EVERY: None}

    def noted(characters: CharacterSet) -> Node:
        sets[characters] = None
        return OneOf(b"\0")

    _Reader(pattern, noted).read()
    kinds, kinds_of = _kinds(list(sets))
    root = _Reader(pattern, lambda characters: OneOf(kinds_of[characters])).read().node()
    try:
        automaton = Automaton(grammar.measure(root), budget.left)
        found = _strings(automaton, kinds, low, high, budget)
    except GrammarError as error:
        raise PatternError(f"{error}; make its counts smaller, or tie it to its ends by `^` and `$`") from None
    budget.left = min(budget.left, automaton.work_left)
    return found


def _kinds(sets: list[CharacterSet]) -> tuple[list[CharacterSet], dict[CharacterSet, bytes]]:
    """Divides all characters into kinds, of which each set has all members or none: their characters, and the numbers
    of those in each set."""
    edges = sorted({edge for one in sets for first, last in one for edge in (first, last + 1)})
    place = {edge: index for index, edge in enumerate(edges)}
    members: list[list[int]] = [[] for _ in edges]  # the sets that hold what begins at an edge
    for number, one in enumerate(sets):
        for first, last in one:
            for index in range(place[first], place[last + 1]):
                members[index].append(number)
    numbers: dict[tuple[int, ...], int] = {}
    ranges: list[list[tuple[int, int]]] = []
    for index, holders in enumerate(members[:-1]):
        number = numbers.setdefault(tuple(holders), len(numbers))
        if number == len(ranges):
            ranges.append([])
        if holders:
            ranges[number].append((edges[index], edges[index + 1] - 1))
    if len(ranges) > 256:
        raise PatternError("it tells too many kinds of characters apart")
    kinds_of = {one: bytes(n for holders, n in numbers.items() if i in holders) for i, one in enumerate(sets)}
    return [union(kind) for kind in ranges], kinds_of


def _lengths(automaton: Automaton, n_kinds: int, most: int, budget: Budget) -> tuple[float, float]:
    """Characters of the shortest and of the longest text, searched up to so many; infinite beyond."""
    states, length = {automaton.start}, 0
    shortest = math.inf
    while states and length <= most:
        if shortest > length and any(map(automaton.accepts, states)):
            shortest = length
        budget.spend(len(states) * n_kinds)
        states = {automaton.step(state, kind) for state in states for kind in range(n_kinds)} - {DEAD}
        length += 1
    return shortest, math.inf if states else length - 1


def _strings(automaton: Automaton, kinds: list[CharacterSet], low: int, high: int | None, budget: Budget) -> Node:
    """A rule for each state of the automaton and number of characters so far, counted no further than needed."""
    shortest, longest = _lengths(automaton, len(kinds), max(low, high or 0), budget)
    low = low if shortest < low else 0  # a length that the pattern has anyhow need not be counted
    high = high if high is not None and longest > high else None
    most = low if high is None else high
    rules: dict[tuple[int, int], Reference] = {(automaton.start, 0): Reference()}
    nodes: dict[bytes, Node] = {}  # by kinds
    pending = list(rules)
    while pending:
        state, count = pending.pop()
        budget.spend(len(kinds))
        rule = rules[state, count]
        after: dict[int, list[int]] = {}
        for kind in range(len(kinds)):
            reached = automaton.step(state, kind)
            if reached != DEAD:
                after.setdefault(reached, []).append(kind)
        options: list[Node] = [Chain()] if automaton.accepts(state) and count >= low else []
        for reached, taken in after.items() if count != high else ():
            key = (reached, min(count + 1, most))
            if key not in rules:
                if len(rules) == _MAX_STATES:
                    raise PatternError("it takes too much memory to follow; make its counts or its length smaller")
                rules[key] = Reference()
                pending.append(key)
            name = bytes(taken)
            if name not in nodes:
                nodes[name] = written(union(part for kind in taken for part in kinds[kind]))
            options.append(Chain(nodes[name], rules[key]))
        rule.target = Choice(*options)
    return Chain(grammar.QUOTE, rules[automaton.start, 0], grammar.QUOTE)
