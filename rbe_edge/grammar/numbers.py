"""Bounds of numbers in a JSON Schema, as llguidance follows them exactly: inclusive, and within 18 digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rbe_edge.grammar.schema_error import SchemaError, require

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST = 999_999_999_999_999_872  # a 64-bit float of 18 digits; of more, llguidance makes no bound
_MAX_DIGITS = 20  # behind the point, of bounds
_MAX_FACTOR = 10_000  # of `multipleOf`, without its point: the states that it takes


def numeric(schema: Mapping[str, Any], integer: bool, where: str) -> dict[str, int | float]:
    """The keywords of numbers, where there are any. integer: no other numbers are allowed. Raises SchemaError."""
    given = {key: _bound(schema[key], key, where) for key in BOUNDS if type(schema.get(key, False)) is not bool}
    for key, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        flag = schema.get(key)
        require(flag in (None, True, False) or key in given, f"{where}: `{key}` must be a number")
        if flag is True and plain in given:  # draft 4
            given[key] = given.pop(plain)
    for key in ("minimum", "maximum"):
        require(key in given or not isinstance(schema.get(key), bool), f"{where}: `{key}` must be a number")
    found = _whole(given, where) if integer else _decimal(given, where)
    if "multipleOf" in schema:
        found["multipleOf"] = _factor(schema["multipleOf"], where)
    return found


def exact(number: int | float, where: str) -> None:
    """Raises SchemaError for a value of which llguidance, which has it as a 64-bit float, would write another one."""
    if isinstance(number, int):
        fits = abs(number) < 2**63 and int(float(number)) == number
    else:
        fits = abs(number) < 1e15
    require(fits, f"{where}: values are supported that a 64-bit float holds exactly, up to 15 digits")


def _bound(bound: Any, key: str, where: str) -> Decimal:
    number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
    require(number and (isinstance(bound, int) or math.isfinite(bound)), f"{where}: `{key}` must be a number")
    found = Decimal(bound) if isinstance(bound, int) else Decimal(repr(bound))
    precise = -int(found.as_tuple().exponent) <= _MAX_DIGITS
    require(precise, f"{where}: `{key}` may have {_MAX_DIGITS} digits behind the point")
    return found


def _whole(given: Mapping[str, Decimal], where: str) -> dict[str, int | float]:
    low, high = -math.inf, math.inf
    for key, bound in given.items():
        within = max(min(bound, Decimal(_MOST + 1)), Decimal(-_MOST - 1))  # so that 1e400 is not written out
        if key == "minimum":
            low = max(low, math.ceil(within))
        elif key == "exclusiveMinimum":
            low = max(low, math.floor(within) + 1)
        elif key == "maximum":
            high = min(high, math.floor(within))
        else:
            high = min(high, math.ceil(within) - 1)
    found: dict[str, int | float] = {}
    if low > -math.inf:
        found["minimum"] = _held(max(int(low), -_MOST), math.inf)
    if high < math.inf:
        found["maximum"] = _held(min(int(high), _MOST), -math.inf)
    _check(found, "integer", where)
    return found


def _held(number: int, towards: float) -> int:
    """The next integer in this direction that a 64-bit float holds."""
    held = float(number)
    if (held < number) if towards > 0 else (held > number):
        held = math.nextafter(held, towards)
    return int(held)


def _decimal(given: Mapping[str, Decimal], where: str) -> dict[str, int | float]:
    bounds = dict(given)
    for key, sign in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        if key in bounds and abs(bounds[key]) <= _MOST:
            # So far from the bound a reader's 64-bit number is not the bound itself.
            bounds[key] += sign * Decimal(1).scaleb(len(str(int(abs(bounds[key])))) - 15)
    low = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=None)
    high = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=None)
    found: dict[str, int | float] = {}
    if low is not None:
        found["minimum"] = float(max(low, Decimal(-_MOST)))
    if high is not None:
        found["maximum"] = float(min(high, Decimal(_MOST)))
    _check(found, "number", where)
    return found


def _check(found: Mapping[str, int | float], kind: str, where: str) -> None:
    low, high = found.get("minimum", -_MOST), found.get("maximum", _MOST)
    require(-_MOST <= high and low <= _MOST, f"{where}: bounds must leave a number within +-1e18")
    require(low <= high, f"{where}: no {kind} is within its bounds")


def _factor(factor: Any, where: str) -> int | float:
    number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not number or not factor > 0 or (isinstance(factor, float) and not math.isfinite(factor)):
        raise SchemaError(f"{where}: `multipleOf` must be a number above 0")
    if isinstance(factor, float) and factor.is_integer():
        factor = int(factor)
    whole = states(factor)
    most = f"{where}: `multipleOf` is supported up to {_MAX_FACTOR}, and for as many parts of a number"
    require(whole <= _MAX_FACTOR, most)
    found: int | float = factor
    return found


def states(factor: int | float) -> int:
    """What following multiples takes: the factor without its point, and without zeros at the end of a fraction."""
    if isinstance(factor, int):
        return factor
    return int("".join(map(str, Decimal(repr(factor)).normalize().as_tuple().digits)))
