"""Patterns that some versions of pydantic (2.12 and 2.13) write for decimal numbers, without their looking ahead, which
the grammar cannot do. What fits the pattern made here fits theirs; that has no more zeros than it needs."""

from __future__ import annotations

import re

_HEAD = r"^(?!^[-+.]*$)[+-]?0*"  # a digit must be there
_ANY = r"\d*\.?\d*$"
_PLACES = re.compile(r"\\d\*\\\.\?\\d\{0,(\d{1,3})\}0\*\$")
_BOTH = re.compile(
    r"\(\?:\\d\{0,(\d{1,3})\}\|\(\?=\[\\d\.\]\{1,(\d{1,3})\}0\*\$\)(?:\\d\*\\\.\\d\*|\\d\{0,\1\}\\\.\\d\{0,(\d{1,3})\})0\*\$\)"
)


def without_looking_ahead(pattern: str) -> str:
    """The pattern itself where it is none of these."""
    rest = pattern.removeprefix(_HEAD)
    if rest == pattern:
        return pattern
    if rest == _ANY:
        return r"^[+-]?\d+(\.\d+)?$"
    if match := _PLACES.fullmatch(rest):
        return f"^[+-]?{_number(None, int(match[1]))}$"
    if match := _BOTH.fullmatch(rest):
        whole, digits = int(match[1]), int(match[2]) - 1
        if match[3] is not None:
            return f"^[+-]?{_number(whole, min(int(match[3]), digits - whole))}$"
        half = (digits + 1) // 2
        return f"^[+-]?({_number(whole, 0)}|{_number(half, digits - half)})$"
    return pattern


def _number(whole: int | None, places: int) -> str:
    """A number of at most so many digits before the point, None: any, and behind it."""
    before = r"\d+" if whole is None else "0" if whole < 1 else rf"(0|[1-9]\d{{0,{whole - 1}}})"
    return before if places < 1 else rf"{before}(\.\d{{1,{places}}})?"
