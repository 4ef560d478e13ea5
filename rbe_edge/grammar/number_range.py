"""Grammars of numbers between bounds, as JSON writes them: in decimals, without exponents and leading zeros."""

from __future__ import annotations

from decimal import Decimal

from rbe_edge.grammar.grammar import DIGIT, Chain, Choice, Literal, Node, OneOf, Repeat

_MAX_INTEGER = 10**18
_MAX_FRACTION = 24  # digits


def integer_between(low: int, high: int) -> Node:
    """The whole numbers from low to high."""
    options: list[Node] = []
    if low < 0:
        options += [Chain(Literal(b"-"), part) for part in _naturals(max(1, -high), -low)]
    if high >= 0:
        options += _naturals(max(low, 0), high)
    return Choice(*options)


def _naturals(low: int, high: int) -> list[Node]:
    found = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (length - 1) if length > 1 else 0), min(high, 10**length - 1)
        if first <= last:
            found.append(_digits(str(first), str(last)))
    return found


def _digits(low: str, high: str) -> Node:
    """The numbers from low to high, which have as many digits."""
    if low == high:
        return Literal(low.encode())
    a, b, rest = int(low[0]), int(high[0]), len(low) - 1
    if rest == 0:
        return _digit(a, b)
    if set(low) == {"0"} and set(high) == {"9"}:  # all; without this the two ends below would double at each digit
        return Repeat(DIGIT, rest + 1, rest + 1)
    if a == b:
        return Chain(Literal(low[:1].encode()), _digits(low[1:], high[1:]))
    options: list[Node] = [
        Chain(Literal(low[:1].encode()), _digits(low[1:], "9" * rest)),
        Chain(Literal(high[:1].encode()), _digits("0" * rest, high[1:])),
    ]
    if a + 1 < b:
        options.append(Chain(_digit(a + 1, b - 1), Repeat(DIGIT, rest, rest)))
    return Choice(*options)


def _digit(first: int, last: int) -> OneOf:
    return OneOf(bytes(range(0x30 + first, 0x30 + last + 1)))


def number_between(low: Decimal | None, high: Decimal | None) -> Node:
    """The numbers from low to high, low <= high; None: no bound. Up to 1e18 and 24 digits behind the point."""
    options: list[Node] = []
    if low is None or low < 0:
        least = Decimal(0) if high is None or high >= 0 else -high
        options += [Chain(Literal(b"-"), part) for part in _positive(least, None if low is None else -low)]
    if high is None or high >= 0:
        options += _positive(Decimal(0) if low is None or low < 0 else low, high)
    return Choice(*options)


def _positive(low: Decimal, high: Decimal | None) -> list[Node]:
    first, above = _split(low)
    last, below = (_MAX_INTEGER, "") if high is None else _split(high)
    if first == last:
        return [Chain(Literal(b"%d" % first), _fraction(above, below))]
    found: list[Node] = [
        Chain(Literal(b"%d" % first), _fraction(above, None)),
        Chain(Literal(b"%d" % last), _fraction("", below)),
    ]
    if first + 1 < last:
        found.append(Chain(integer_between(first + 1, last - 1), _fraction("", None)))
    return found


def _split(number: Decimal) -> tuple[int, str]:
    """The whole part, and the digits behind the point without zeros at their end."""
    whole, _, fraction = format(number, "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _fraction(low: str, high: str | None) -> Node:
    """What may stand behind a whole number: nothing, where low allows it, or a point and digits from low to high."""
    some = Chain(Literal(b"."), _tail(low, high, _MAX_FRACTION, may_end=False))
    return some if low else Repeat(some, 0, 1)


def _tail(low: str, high: str | None, room: int, may_end: bool) -> Node:
    """Digits that as a fraction are at least `low` and at most `high`, "" being zero and None no bound."""
    if not low and not high:
        return Repeat(DIGIT if high is None else Literal(b"0"), 0 if may_end else 1, room)
    options: list[Node] = [Chain()] if may_end and not low else []
    first, last = int(low[:1] or 0), 9 if high is None else int(high[:1] or 0)
    for digit in sorted({first, last} if first <= last else ()):
        rest_low = low[1:] if digit == first else ""
        rest_high = high[1:] if high is not None and digit == last else None
        options.append(Chain(_digit(digit, digit), _tail(rest_low, rest_high, room - 1, may_end=True)))
    if first + 1 < last:
        options.append(Chain(_digit(first + 1, last - 1), _tail("", None, room - 1, may_end=True)))
    return Choice(*options)
