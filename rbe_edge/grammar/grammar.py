"""Grammars over bytes, as nodes that an Automaton walks; and the grammar of JSON (RFC 8259).

Nodes compare by identity and hold no state, so one grammar serves any number of automata on any threads once
measure() has run.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Sequence


class GrammarError(Exception):
    """A grammar that no text fits, or that takes too much memory to follow."""


class Node:
    """shortest: bytes of the shortest text that fits, known after measure(); infinite where none does."""

    __slots__ = ("shortest",)

    def __init__(self) -> None:
        self.shortest: float = math.inf

    def parts(self) -> Sequence[Node]:
        return ()

    def remaining(self, index: int) -> float:
        """Shortest text of what is left, `index` units of the node being done."""
        return self.shortest


class OneOf(Node):
    """One byte of those given."""

    __slots__ = ("allowed",)

    def __init__(self, allowed: bytes) -> None:
        super().__init__()
        self.allowed = bytes(sorted(set(allowed)))
        self.shortest = 1 if allowed else math.inf


class Literal(Node):
    """Exactly these bytes, at least one. index: bytes done."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        super().__init__()
        assert text
        self.text = text
        self.shortest = len(text)

    def remaining(self, index: int) -> float:
        return len(self.text) - index


class Chain(Node):
    """One node after the other. index: nodes done."""

    __slots__ = ("items",)

    def __init__(self, *items: Node) -> None:
        super().__init__()
        self.items = items

    def parts(self) -> Sequence[Node]:
        return self.items

    def remaining(self, index: int) -> float:
        return sum(item.shortest for item in self.items[index:])


class Choice(Node):
    """Any one of the nodes."""

    __slots__ = ("options",)

    def __init__(self, *options: Node) -> None:
        super().__init__()
        self.options = options

    def parts(self) -> Sequence[Node]:
        return self.options

    def remaining(self, index: int) -> float:
        return min((option.shortest for option in self.options), default=math.inf)


class Repeat(Node):
    """From `low` to `high` times the node, which must not fit the empty text; high None: without end. index: how many
    repetitions there were, counted no further than needed."""

    __slots__ = ("high", "item", "low")

    def __init__(self, item: Node, low: int, high: int | None) -> None:
        super().__init__()
        self.item, self.low, self.high = item, low, high

    def parts(self) -> Sequence[Node]:
        return (self.item,)

    def remaining(self, index: int) -> float:
        missing = max(self.low - index, 0)
        return missing * self.item.shortest if missing else 0


class Reference(Node):
    """A node that is known later: for grammars that hold themselves."""

    __slots__ = ("target",)

    def __init__(self) -> None:
        super().__init__()
        self.target: Node | None = None

    def parts(self) -> Sequence[Node]:
        return (self.target,) if self.target is not None else ()

    def remaining(self, index: int) -> float:
        return self.target.shortest if self.target is not None else math.inf


def measure(root: Node) -> Node:
    """Finds `shortest` of all nodes: the least fixed point. Raises GrammarError where no text fits."""
    holders: dict[Node, list[Node]] = {root: []}
    pending = [root]
    while pending:
        node = pending.pop()
        for part in node.parts():
            if part not in holders:
                holders[part] = []
                pending.append(part)
            holders[part].append(node)
    changed = deque(holders)
    while changed:
        node = changed.popleft()
        shortest = node.remaining(0)
        if shortest < node.shortest or not node.parts():
            node.shortest = min(shortest, node.shortest)
            changed.extend(holder for holder in holders[node] if holder.remaining(0) < holder.shortest)
    if math.isinf(root.shortest):
        raise GrammarError("no text can fit it")
    return root


# ---- JSON ----

DIGIT = OneOf(b"0123456789")
_HEX = OneOf(b"0123456789abcdefABCDEF")
_TAIL = OneOf(bytes(range(0x80, 0xC0)))

#: Between the parts of a value. Bounded, so that a model cannot go on with blanks for ever.
WHITESPACE = Repeat(OneOf(b" \t\n\r"), 0, 16)
QUOTE = Literal(b'"')


def _range(first: int, last: int) -> OneOf:
    return OneOf(bytes(range(first, last + 1)))


#: One character of a string: UTF-8 as RFC 3629 has it, and escapes, of which two that make a surrogate pair are one.
CHARACTER = Choice(
    OneOf(bytes(byte for byte in range(0x20, 0x80) if byte not in b'"\\')),
    Chain(_range(0xC2, 0xDF), _TAIL),
    Chain(Literal(b"\xe0"), _range(0xA0, 0xBF), _TAIL),
    Chain(OneOf(bytes([*range(0xE1, 0xED), 0xEE, 0xEF])), _TAIL, _TAIL),
    Chain(Literal(b"\xed"), _range(0x80, 0x9F), _TAIL),
    Chain(Literal(b"\xf0"), _range(0x90, 0xBF), _TAIL, _TAIL),
    Chain(_range(0xF1, 0xF3), _TAIL, _TAIL, _TAIL),
    Chain(Literal(b"\xf4"), _range(0x80, 0x8F), _TAIL, _TAIL),
    Chain(Literal(b"\\"), OneOf(b'"\\/bfnrt')),
    Chain(Literal(b"\\u"), OneOf(b"0123456789abcefABCEF"), _HEX, _HEX, _HEX),
    Chain(Literal(b"\\u"), OneOf(b"dD"), OneOf(b"01234567"), _HEX, _HEX),
    Chain(
        Literal(b"\\u"), OneOf(b"dD"), OneOf(b"89abAB"), _HEX, _HEX,
        Literal(b"\\u"), OneOf(b"dD"), OneOf(b"cdefCDEF"), _HEX, _HEX,
    ),
)  # fmt: skip


def string(low: int = 0, high: int | None = None) -> Node:
    """A string of low to high characters."""
    return Chain(QUOTE, Repeat(CHARACTER, low, high), QUOTE)


_MINUS = Repeat(Literal(b"-"), 0, 1)
# Digits are bounded: a model that repeats one would fill its whole answer, and readers refuse very long numbers.
_NATURAL = Choice(Literal(b"0"), Chain(OneOf(b"123456789"), Repeat(DIGIT, 0, 19)))
_FRACTION = Repeat(Chain(Literal(b"."), Repeat(DIGIT, 1, 24)), 0, 1)
_EXPONENT = Repeat(Chain(OneOf(b"eE"), Repeat(OneOf(b"+-"), 0, 1), Repeat(DIGIT, 1, 3)), 0, 1)

INTEGER = Chain(_MINUS, _NATURAL)
NUMBER = Chain(_MINUS, _NATURAL, _FRACTION, _EXPONENT)
BOOLEAN = Choice(Literal(b"true"), Literal(b"false"))
NULL = Literal(b"null")
STRING = string()


def array(item: Node, low: int = 0, high: int | None = None) -> Node:
    """An array of low to high items."""
    if high == 0:
        return Chain(Literal(b"["), WHITESPACE, Literal(b"]"))
    more = Chain(WHITESPACE, Literal(b","), WHITESPACE, item)
    some = Chain(item, Repeat(more, max(low - 1, 0), None if high is None else high - 1))
    return Chain(Literal(b"["), WHITESPACE, some if low else Repeat(some, 0, 1), WHITESPACE, Literal(b"]"))


def prefixed_array(first: Sequence[Node], others: Node | None, low: int = 0, high: int | None = None) -> Node:
    """An array of low to high items, the first as given, others only where there is a node for them. Built from its
    end, because what may follow a place depends on whether it may be the last."""
    places = first if high is None else first[:high]
    comma = Chain(WHITESPACE, Literal(b","), WHITESPACE)
    missing = max(low - len(places), 0)
    if others is not None and (high is None or high > len(places)):
        after: Node = Repeat(Chain(comma, others), missing, None if high is None else high - len(places))
    else:
        after = Choice() if missing else Chain()
    for index in range(len(places) - 1, -1, -1):
        item = Chain(comma, places[index], after) if index else Chain(places[index], after)
        after = item if index < low else Repeat(item, 0, 1)
    return Chain(Literal(b"["), WHITESPACE, after, WHITESPACE, Literal(b"]"))


def mapping(value: Node) -> Node:
    """An object of any names, its values those given."""
    member = Chain(STRING, WHITESPACE, Literal(b":"), WHITESPACE, value, WHITESPACE)
    members = Chain(member, Repeat(Chain(Literal(b","), WHITESPACE, member), 0, None))
    return Chain(Literal(b"{"), WHITESPACE, Repeat(members, 0, 1), Literal(b"}"))


@functools.cache
def any_value() -> Node:
    """Any JSON value."""
    value = Reference()
    value.target = Choice(mapping(value), array(value), STRING, NUMBER, BOOLEAN, NULL)
    return measure(value)


@functools.cache
def any_object() -> Node:
    """Any JSON object."""
    return measure(mapping(any_value()))
