"""Typed access to a config.json: every complaint names the key and what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.messages import shown

# No dimension of a model comes near; keeps a damaged configuration from asking for absurd sizes.
LARGEST = 1 << 28


def _is_finite(value: object) -> bool:
    """Whether this is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


@dataclass(frozen=True)
class Config:
    """A config.json (or a part of it); `where` names it in messages. A null counts as absent."""

    values: Mapping[str, Any]
    where: str = "config.json"

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise PackError(f"{self.where}: {key} is missing; take the file from the model's publisher")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> PackError:
        return PackError(f"{self.where}: {key} is {shown(value)}, expected {expected}; correct the file")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number from 1 to 2^28. It may be written as a float: 64.0."""
        value = self._get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise self._wrong(key, value, f"a whole number from 1 to {LARGEST}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(key, default)
        if not _is_finite(value):
            raise self._wrong(key, value, "a finite number")
        return float(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(key, value, "a number above 0")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def numbers(self, key: str, count: int) -> list[float]:
        """A list of so many finite numbers above 0."""
        value = self._get(key, None)
        if not isinstance(value, list) or len(value) != count or not all(_is_finite(x) and x > 0 for x in value):
            raise self._wrong(key, value, f"a list of {count} numbers above 0")
        return [float(x) for x in value]

    def texts(self, key: str, count: int) -> list[str]:
        """A list of so many strings."""
        value = self._get(key, None)
        if not isinstance(value, list) or len(value) != count or not all(isinstance(x, str) for x in value):
            raise self._wrong(key, value, f"a list of {count} strings")
        return value

    def part(self, key: str) -> Config:
        """The object under a key."""
        value = self._get(key, None)
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Config(value, f"{self.where}: {key}")

    def merged(self, **more: Any) -> Config:
        """A copy in which some values are replaced."""
        return Config({**self.values, **more}, self.where)
