"""Files of one JSON object a line, as benchmarks are published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rbe_edge.errors import OptionError
from rbe_edge.runtime.text_file import read_text

T = TypeVar("T")
Object = Mapping[str, Any]

_SHOWN = 80  # letters of what is wrong


class Malformed(Exception):
    """What is wrong with an object."""


def read_objects(path: Path, read: Callable[[Object], T], limit: int | None = None) -> list[T]:
    """What `read` makes of the object of every line, of the first `limit` that are not blank. Raises OptionError that
    names the line where it is no object or `read` raises Malformed, and where there is none."""
    found: list[T] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):  # not splitlines: a string may hold U+2028
        if limit is not None and len(found) == limit:
            break
        if not line.strip("\ufeff \t\r"):
            continue
        try:
            found.append(read(_object(line.lstrip("\ufeff"))))
        except Malformed as wrong:
            raise OptionError(f"{path}, line {number}: {wrong}") from None
    if not found:
        raise OptionError(f"{path}: has no line; give a file of JSON lines")
    return found


def _object(line: str) -> Object:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is no JSON ({' '.join(str(error).split())[:_SHOWN]})") from None
    if not isinstance(value, dict):
        raise Malformed(f"holds {type(value).__name__}, not an object")
    return value


def text_of(value: Object, key: str, *, empty: bool = False) -> str:
    """A text of an object. empty: whether it may be. Raises Malformed."""
    found = value.get(key)
    if not isinstance(found, str):
        raise Malformed(f"{key} is {'missing' if key not in value else 'no text'}")
    check_text(found, key)
    if not found.strip() and not empty:
        raise Malformed(f"{key} is empty")
    return found


def check_text(text: str, what: str) -> None:
    """Raises Malformed for half of a surrogate pair, which is no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed(f"{what} holds half of a surrogate pair") from None


def texts_of(value: Object, key: str) -> list[str]:
    """Two texts or more. Raises Malformed."""
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Malformed(f"{key} is {'missing' if key not in value else 'no list of texts'}")
    for text in found:
        check_text(text, key)
    if len(found) < 2 or not all(text.strip() for text in found):
        raise Malformed(f"{key} must be two texts or more, none of them empty")
    return found


def index_of(value: Object, key: str, count: int) -> int:
    """A number from 0 to count - 1, which may be written as a text or as a truth value. Raises Malformed."""
    found = value.get(key)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 4:
        found = int(found)
    if not isinstance(found, int):
        raise Malformed(f"{key} is {'missing' if key not in value else 'no number'}")
    if not 0 <= found < count:
        raise Malformed(f"{key} is {str(found)[:_SHOWN]}, and there are {count} choices")
    return int(found)
