"""Reads the fields of a request's body, which is untrusted JSON, into values of known types and ranges."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rbe_edge.server.api_error import ApiError, wrong

_MOST_LEVELS = 200  # no schema, tool or message needs more; Python's own limit depends on who calls
_MOST_DIGITS = 309  # of the largest float64
_MOST_PARTS = 250_000  # lists and objects: more take seconds, and hundreds of bytes each
_MOST_NAME = 100  # characters of a field's name in a message
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # one without an end goes to the end
_BRACKET = re.compile(r"[][{}]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_object(body: bytes | bytearray) -> dict[str, Any]:
    """The object that the body is. Raises ApiError for what is no JSON object, and for what parse_json() refuses."""
    try:
        value, refused = _parse(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise ApiError(400, "the body is no valid UTF-8") from None
    except ValueError as error:
        raise ApiError(400, f"the body is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object")
    if refused is not None:
        name = next(name for name, part in value.items() if _holds_nan(part))[:_MOST_NAME]
        raise wrong(name, f"`{name}`: {refused}")
    return value


def parse_json(text: str) -> Any:
    """The value that a text is. Raises ValueError, in one line, for what is no JSON, is nested deeper than 200 levels,
    has more than 250,000 lists and objects, or holds half of a surrogate pair or a number that is not finite as
    float64."""
    value, refused = _parse(text)
    if refused is not None:
        raise ValueError(refused)
    return value


def _parse(text: str) -> tuple[Any, str | None]:
    """The value, and what is wrong with a number in it; such numbers became NaN."""
    parts = text.count("[") + text.count("{")
    if parts > _MOST_PARTS:
        words = _STRING.sub("", text)
        if words.count("[") + words.count("{") > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS} lists and objects")
    if parts > _MOST_LEVELS and _is_deep(text):  # before it is read: at Python's own limit finalizers fail, of anything
        raise ValueError(f"it is nested deeper than {_MOST_LEVELS} levels")
    numbers = _Numbers()
    try:
        value = json.loads(text, parse_constant=numbers.constant, parse_float=numbers.decimal, parse_int=numbers.whole)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair, which is no character") from None
    return value, numbers.refused


class _Numbers:
    """Reads numbers. refused: what is wrong with one of them, which has become NaN."""

    def __init__(self) -> None:
        self.refused: str | None = None

    def constant(self, name: str) -> float:
        self.refused = f"{name} is no number of JSON"
        return math.nan

    def decimal(self, text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else self._too_large(text)

    def whole(self, text: str) -> int | float:
        digits = len(text) - text.startswith("-")
        if digits > _MOST_DIGITS or (digits == _MOST_DIGITS and not math.isfinite(float(text))):
            return self._too_large(text)
        return int(text)

    def _too_large(self, text: str) -> float:
        self.refused = f"the number {text[:20]}{'…' if len(text) > 20 else ''} is too large"
        return math.nan


def _is_deep(text: str) -> bool:
    """Whether brackets stand deeper in one another than is allowed, up to where the text stops being JSON."""
    level = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        if level > _MOST_LEVELS:
            return True
    return False


def _holds_nan(value: Any) -> bool:
    stack = [value]
    while stack:
        one = stack.pop()
        if one != one:
            return True
        stack += _parts(one)
    return False


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


class Fields:
    """The fields of an object by name, checked as they are read. null counts as absent. where: before the name in
    messages, such as `stream_options.`"""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values, self._where = values, where

    @property
    def values(self) -> Mapping[str, Any]:
        """As they are, unchecked."""
        return self._values

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def path(self, name: str) -> str:
        return self._where + name

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is None or isinstance(value, str):
            return value
        raise wrong(self.path(name), f"`{self.path(name)}` must be a text")

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise wrong(self.path(name), f"`{self.path(name)}` is missing")
        return value

    def flag(self, name: str) -> bool:
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise wrong(self.path(name), f"`{self.path(name)}` must be true or false")

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise wrong(self.path(name), f"`{self.path(name)}` must be a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(self.path(name), f"`{self.path(name)}` must be a whole number from {low} to {high}")
        return value

    def object(self, name: str) -> Fields | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise wrong(self.path(name), f"`{self.path(name)}` must be an object")
        return Fields(value, f"{self.path(name)}.")

    def objects(self, name: str, most: int) -> list[Fields] | None:
        """A list of objects."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > most:
            raise wrong(self.path(name), f"`{self.path(name)}` must be a list of at most {most} objects")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise wrong(self.path(name), f"`{self.path(name)}[{index}]` must be an object")
        return [Fields(item, f"{self.path(name)}[{index}].") for index, item in enumerate(value)]
