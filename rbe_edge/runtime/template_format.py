"""How values become text in a template: str() and repr(), JSON, `%` and str.format, bounded and with marks
(template_values)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import ItemsView, KeysView, Mapping, Sequence, ValuesView
from typing import Any

from jinja2 import Environment
from jinja2.sandbox import SandboxedFormatter
from jinja2.utils import Namespace
from markupsafe import Markup

from rbe_edge.runtime.marked_text import mark, unmark
from rbe_edge.runtime.template_budget import fits, works_slowly
from rbe_edge.runtime.template_values import (
    Text,
    as_marked,
    attributes_of,
    has_marks,
    marked,
    text,
    with_marks,
)

_CONTAINERS = (list, tuple, dict, KeysView, ItemsView, ValuesView, Namespace)
_ESCAPED = frozenset("'\"\\")  # what repr and JSON write otherwise than it is
_PLAIN_ESCAPED = {ord(mark(sign)): sign for sign in _ESCAPED}
_NUMBER = 400  # characters of a float as %f writes it, at most


def spelled(value: Any) -> str:
    """str(value)."""
    if isinstance(value, str):
        return str(value)
    return shown(value) if isinstance(value, _CONTAINERS) else str(value)


def shown(value: Any) -> str:
    """repr(value)."""
    pieces = _Pieces()
    pieces.write(value)
    return joined(pieces.texts)


def joined(pieces: Sequence[str]) -> str:
    """The texts as one."""
    fits(sum(map(len, pieces)))
    return text("".join(pieces), "".join(map(marked, pieces)))


class _Pieces:
    """What repr() writes of values that may be in one another any number of times."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._size = 0

    def write(self, value: Any) -> None:
        if isinstance(value, Text):
            self._add(_quoted(value))
        elif isinstance(value, list):
            self._items("[", value, "]")
        elif isinstance(value, tuple):
            self._items("(", value, ",)" if len(value) == 1 else ")")
        elif isinstance(value, dict):
            self._pairs(value)
        elif isinstance(value, (KeysView, ItemsView, ValuesView)):
            self._items(f"{type(value).__name__}([", value, "])")
        elif isinstance(value, Namespace):
            self._add("<Namespace ")
            self._pairs(attributes_of(value))
            self._add(">")
        else:
            self._add(repr(value))

    def _add(self, piece: str) -> None:
        self._size += len(piece)
        fits(self._size)
        self.texts.append(piece)

    def _items(self, start: str, items: Any, end: str) -> None:
        self._add(start)
        for index, item in enumerate(items):
            if index:
                self._add(", ")
            self.write(item)
        self._add(end)

    def _pairs(self, items: Mapping[Any, Any]) -> None:
        self._add("{")
        for index, (key, item) in enumerate(items.items()):
            if index:
                self._add(", ")
            self.write(key)
            self._add(": ")
            self.write(item)
        self._add("}")


def _quoted(value: Text) -> str:
    plain = str.__repr__(value)
    if len(plain) == len(value) + 2:  # nothing is escaped
        return text(plain, plain[0] + marked(value) + plain[-1])
    pieces = []
    for character, form in zip(str.__iter__(value), marked(value), strict=True):
        if character == plain[0]:
            pieces.append("\\" + character)
        else:
            pieces.append(repr(character)[1:-1] if character in _ESCAPED or form == character else form)
    return with_marks(plain, plain[0] + "".join(pieces) + plain[0])


# ---- JSON ----


def as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter tojson of transformers."""
    # Python writes what is indented slowly: a step for each level that a value lies on.
    step = 0 if indent is None else max(len(indent) if isinstance(indent, str) else indent, 1)
    marks = _check_json(value, step, sum(map(len, separators or ())))
    write = functools.partial(
        json.dumps, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return with_marks(write(value), write(_stand_ins(value))) if marks and not ensure_ascii else write(value)


def _check_json(value: Any, step: int, separators: int) -> bool:
    """LimitError if more would be written than fits. Returns whether any of it has marks."""
    size, marks, pending = 0, False, [(value, 1)]
    while pending:
        item, level = pending.pop()
        size += 2 + separators + step * level
        if isinstance(item, str):
            size += len(item)
            marks = marks or has_marks(item)
        elif isinstance(item, Mapping):
            size += (2 + separators + step * level) * len(item)
            fits(size)
            pending.extend((part, level + 1) for pair in item.items() for part in pair)
        elif isinstance(item, (list, tuple)):
            size += (2 + separators + step * level) * len(item)
            fits(size)
            pending.extend((part, level + 1) for part in item)
        fits(size)
    return marks


def _stand_ins(value: Any) -> Any:
    """The value with the marked forms of its texts, but for keys and for what JSON writes in another way."""
    if isinstance(value, str):
        return marked(value).translate(_PLAIN_ESCAPED)
    if isinstance(value, Mapping):
        return {key: _stand_ins(item) for key, item in value.items()}
    return [_stand_ins(item) for item in value] if isinstance(value, (list, tuple)) else value


# ---- formats ----

_DIRECTIVE = re.compile(r"[#0\- +]*(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.)?", re.DOTALL)


def percent(template: str, values: Any) -> Any:
    """template % values."""
    works_slowly(template.count("%"))
    arguments = iter(values if isinstance(values, tuple) else (values,))
    size, form, at = len(template), [], 0
    while (found := template.find("%", at)) >= 0:
        key, end = _key(template, found + 1)
        # A key is looked up as it is read.
        form += [marked(template)[at : found + 1], str.__str__(template)[found + 1 : end]]
        directive = _DIRECTIVE.match(template, end)
        assert directive is not None
        for number in directive[1], directive[2]:
            width = next(arguments, 0) if number == "*" else int(number or 0)
            size += abs(width) if isinstance(width, int) else 0
        if directive[3] != "%":
            if key is None:
                value = next(arguments, "")
            else:
                value = values.get(key, "") if isinstance(values, Mapping) else ""
            size += _room(value, directive[3])
        fits(size)
        form.append(marked(template)[end : directive.end()])
        at = directive.end()
    plain = template % values
    parts = values if isinstance(values, tuple) else values.values() if isinstance(values, Mapping) else [values]
    if isinstance(template, Markup) or not any(map(has_marks, (template, *parts))):
        return plain
    return _with_marks_of("".join(form) + marked(template)[at:], values, plain)


def _with_marks_of(form: str, values: Any, plain: Any) -> Any:
    if isinstance(values, tuple):
        again: Any = tuple(map(as_marked, values))
    elif isinstance(values, Mapping):
        again = {key: as_marked(value) for key, value in values.items()}
    else:
        again = as_marked(values)
    try:
        return with_marks(plain, form % again)
    except (TypeError, ValueError, KeyError):  # a stand-in where a directive was
        return plain


def _key(template: str, at: int) -> tuple[str | None, int]:
    """The key of `%(key)s` that begins here, and where it ends; parentheses in it are balanced."""
    if template[at : at + 1] != "(":
        return None, at
    depth, end = 1, at + 1
    while depth and end < len(template):
        depth += {"(": 1, ")": -1}.get(template[end], 0)
        end += 1
    return str.__str__(template)[at + 1 : end - 1], end


def _room(value: Any, kind: str | None) -> int:
    """Characters that a value takes, at most."""
    size = len(spelled(value)) if isinstance(value, (str, *_CONTAINERS)) else _NUMBER
    if isinstance(value, int):
        size += value.bit_length()
    return 10 * size if kind in ("a", "r") else size  # an escape such as \U0001f600


class _Formatter(SandboxedFormatter):
    """Makes the marked form. own: whether the template wrote all of the format."""

    def __init__(self, environment: Environment, own: bool) -> None:
        super().__init__(environment)
        self._size, self._own = 0, own

    def parse(self, format_string: str) -> Any:
        for literal, *field in super().parse(str.__str__(format_string)):
            self._size += len(literal)
            fits(self._size)
            yield (mark(literal) if self._own else literal, *field)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion == "s":
            return spelled(value)
        if conversion == "a":
            return ascii(str.__str__(value)) if isinstance(value, str) else shown(value).encode(
                "ascii", "backslashreplace"
            ).decode()  # fmt: skip
        return shown(value) if conversion == "r" else super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        spec = unmark(format_spec)
        if not spec and isinstance(value, (str, *_CONTAINERS)):
            written = marked(spelled(value))
        else:
            fits(self._size + sum(map(int, re.findall(r"\d+", spec))) + _room(value, None))
            written = format(value, spec)
        self._size += len(written)
        fits(self._size)
        return written


def formatted(environment: Environment, template: str, arguments: Any, named: Any) -> str:
    """template.format(*arguments, **named)."""
    works_slowly(template.count("{"))
    form = _Formatter(environment, marked(template) == mark(template)).vformat(template, arguments, named)
    return text(unmark(form), form)
