"""Reads the fields of a request's body, which is untrusted JSON, into values of known types and ranges."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rbe_edge.server.api_error import ApiError, wrong

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(body: bytes) -> dict[str, Any]:
    """The object that the body is. Raises ApiError for what is no JSON object, nested too deep, or holds half of a
    surrogate pair, a number that is not finite or one of thousands of digits."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ApiError(400, "the body is nested too deep") from None
    except UnicodeEncodeError:
        raise ApiError(400, "the body holds half of a surrogate pair, which is no character") from None
    except ValueError as error:
        raise ApiError(400, f"the body is no valid JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


class Fields:
    """The fields of an object by name, checked as they are read. null counts as absent. where: before the name in
    messages, such as `stream_options.`"""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values, self._where = values, where

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
