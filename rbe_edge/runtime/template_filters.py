"""Jinja's filters, bounded before they run, and with marks (template_values) after.

Filters that make a text of a text are written here with the methods of template_texts. The others are Jinja's own: they
pass values on, and only what they are given is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import FILTERS, do_indent, do_title, do_truncate, do_wordwrap, make_attrgetter
from jinja2.runtime import Undefined
from jinja2.utils import pass_environment
from markupsafe import Markup, escape

from rbe_edge.runtime.template_budget import LimitError, compares, fits, works_slowly
from rbe_edge.runtime.template_format import as_json, percent, spelled
from rbe_edge.runtime.template_texts import call_method
from rbe_edge.runtime.template_values import (
    MarkedMarkup,
    as_marked,
    marked,
    weigh,
    weighed_list,
    with_marks,
)

_MAX_DIGITS = 4000  # of a number in a text; Python refuses more than 4300, old versions took seconds
_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
#: These make a list of what they go through. Of a text, that is one of its characters, each a value.
_EAGER = frozenset("groupby list max min slice sort sum".split())
_LAZY = "batch dictsort map reject rejectattr reverse select selectattr unique".split()
_SIMPLE = "abs attr count d default first items last length random safe wordcount".split()
_SLOW = frozenset("filesizeformat pprint striptags urlencode urlize xmlattr".split())


def _method(name: str) -> Callable[..., Any]:
    def filtered(value: Any, *arguments: Any, **named: Any) -> Any:
        return call_method(_soft(value), name, *arguments, **named)

    return filtered


def _soft(value: Any) -> str:
    return value if isinstance(value, str) else spelled(value)


def _again(function: Callable[..., Any], value: Any, *arguments: Any) -> Any:
    """What the function makes, with the marks of what it makes of the marked forms."""
    plain = function(value, *arguments)
    return with_marks(plain, function(*map(as_marked, (value, *arguments))))


def _center(value: Any, width: int = 80) -> Any:
    return call_method(_soft(value), "center", width)


def _trim(value: Any, chars: str | None = None) -> Any:
    return call_method(_soft(value), "strip", chars)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    return call_method(spelled(value), "replace", spelled(old), spelled(new), -1 if count is None else count)


@pass_environment
def _join(environment: Environment, value: Any, d: Any = "", attribute: Any = None) -> Any:
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return call_method(spelled(d), "join", [spelled(item) for item in weighed_list(items)])


def _format(value: Any, *arguments: Any, **named: Any) -> Any:
    if arguments and named:
        raise FilterArgumentError("can't handle positional and keyword arguments at the same time")
    return percent(_soft(value), named or arguments)


def _title(value: Any) -> Any:
    whole = _soft(value)
    works_slowly(len(whole))
    plain = do_title(whole)
    if len(plain) != len(whole):
        return plain
    # Letters change, and letters have no marks.
    return with_marks(
        plain,
        "".join(now if was == form else form for was, form, now in zip(whole, marked(whole), plain, strict=True)),
    )


def _indent(value: Any, width: Any = 4, first: bool = False, blank: bool = False) -> Any:
    if isinstance(value, str):
        lines = sum(map(value.count, _LINE_ENDS)) + 2
        fits(len(value) + lines * (len(width) if isinstance(width, str) else max(width, 0)))
    return _again(do_indent, value, width, first, blank)


@pass_environment
def _wordwrap(environment: Environment, value: Any, *arguments: Any, **named: Any) -> Any:
    works_slowly(weigh(value))
    for argument in [*arguments, *named.values()]:
        if isinstance(argument, str):
            fits(len(value) * (len(argument) + 1))
    return _again(lambda *given: do_wordwrap(environment, *given, **named), value, *arguments)


@pass_environment
def _truncate(environment: Environment, value: Any, *arguments: Any, **named: Any) -> Any:
    return _again(lambda *given: do_truncate(environment, *given, **named), value, *arguments)


def _safe(value: Any) -> Markup:
    if hasattr(value, "__html__"):
        return value if isinstance(value, Markup) else Markup(value)
    whole = spelled(value)
    return MarkedMarkup(str.__str__(whole), marked(whole))


def _escape(value: Any) -> Markup:
    return value.__html__() if hasattr(value, "__html__") else _forceescape(value)


def _forceescape(value: Any) -> Markup:
    whole = spelled(value.__html__() if hasattr(value, "__html__") else value)
    escaped: Markup = with_marks(escape(str.__str__(whole)), escape(marked(whole)))
    return escaped


def _int(value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        raise LimitError(f"it reads a number of more than {_MAX_DIGITS} characters")
    return FILTERS["int"](value, default, base)


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > _MAX_DIGITS:
        raise LimitError(f"it rounds to more than {_MAX_DIGITS} digits")
    return FILTERS["round"](value, precision, method)


def _batch(value: Any, linecount: int, fill_with: Any = None) -> Iterator[Any]:
    if fill_with is not None:
        fits(8 * linecount)
    found: Iterator[Any] = FILTERS["batch"](value, linecount, fill_with)
    return found


def _jinjas(name: str) -> Callable[..., Any]:
    """Jinja's own filter, which goes through what it is given."""
    function = FILTERS[name]
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    def filtered(*arguments: Any, **named: Any) -> Any:
        value = arguments[at] if len(arguments) > at else None
        if isinstance(value, str) and name in _EAGER:
            fits(8 * len(value))
        if name in _SLOW:
            works_slowly(weigh(value))
        return function(*arguments, **named)

    if at:
        filtered.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return filtered


def _sum(value: Any, start: Any) -> Any:
    """Lists are copied for each list that is added."""
    if isinstance(start, (list, tuple)):
        items = weighed_list(value)
        compares(len(items), sum(len(item) for item in items if isinstance(item, (list, tuple))))
        value = items
    return sum(value, start)


@pass_environment
def _summed(environment: Environment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    if isinstance(value, str):
        fits(8 * len(value))
    return _sum(value if attribute is None else map(make_attrgetter(environment, attribute), value), start)


def _entries(value: Any) -> Any:
    """Numbers can be chosen so that a dictionary of them takes a time that grows with the square."""
    if isinstance(value, (Mapping, Undefined)):
        return value
    items = weighed_list(value)
    works_slowly(4 * len(items))
    return items


class TemplateDict:
    """The global `dict`, as in transformers."""

    def __call__(self, *arguments: Any, **named: Any) -> dict[Any, Any]:
        return dict(*map(_entries, arguments), **named)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(_entries(keys), value)


TEMPLATE_FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _jinjas(name) for name in (*_EAGER, *_LAZY, *_SIMPLE, *_SLOW, "float")},
    **{name: _method(name) for name in ("capitalize", "lower", "upper")},
    "batch": _batch,
    "center": _center,
    "e": _escape,
    "escape": _escape,
    "forceescape": _forceescape,
    "format": _format,
    "indent": _indent,
    "int": _int,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "safe": _safe,
    "string": _soft,
    "sum": _summed,
    "title": _title,
    "tojson": as_json,
    "trim": _trim,
    "truncate": _truncate,
    "wordwrap": _wordwrap,
}
