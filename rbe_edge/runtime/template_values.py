"""The values in a template's rendering: texts that know which of their characters are the template's own, containers
that know their weight, both with the memory that they hold.

All of them are what Jinja expects, a str, a list and so on, and behave as these do. What a text is, how it compares and
what is found in it never depends on who wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, SupportsIndex, TypeVar, cast

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace
from markupsafe import Markup

from rbe_edge.runtime.marked_text import mark, said, unmark
from rbe_edge.runtime.template_budget import MAX_BITS, MAX_LEVELS, Budget, Hold, LimitError, fits

_ITEM_WEIGHT = 8  # an item of a list takes a pointer at least, and is slower to go through than a character
_ITEM_BYTES = 40  # of a pointer and a number that nobody else holds
_PAIR_BYTES = 100

_COLLECTIONS = (Mapping, list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)

T = TypeVar("T")


class Text(str):
    """_marked: the same text with stand-ins (marked_text) for what the template itself wrote. The name keeps it from
    templates, as that of all attributes here."""

    __slots__ = ("_hold", "_marked")
    _marked: str
    _hold: Hold | None

    def __new__(cls, plain: str, marked: str) -> Text:
        made = super().__new__(cls, plain)
        made._marked, made._hold = marked, None
        return made

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        return map(text, super().__iter__(), self._marked)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        return text(super().__getitem__(key), self._marked[key])


class MarkedMarkup(Markup):
    """The same for what `safe` and `escape` make, which jinja2 escapes other texts for."""

    __slots__ = ("_hold", "_marked")
    _marked: str
    _hold: Hold | None

    def __new__(cls, plain: str, marked: str | None = None) -> MarkedMarkup:
        made = super().__new__(cls, plain)
        made._marked, made._hold = str.__str__(plain) if marked is None else marked, None
        return made

    def __str__(self) -> str:
        return text(str.__str__(self), self._marked)


class KnownList(list[Any]):
    __slots__ = ("_hold", "_levels", "_weight")
    _weight: int
    _levels: int
    _hold: Hold | None


class KnownTuple(tuple[Any, ...]):
    _weight: int
    _levels: int
    _hold: Hold | None


class KnownDict(dict[Any, Any]):
    __slots__ = ("_hold", "_levels", "_weight")
    _weight: int
    _levels: int
    _hold: Hold | None


# What fails says which type it was given: that which the template's author knows. Markup shows its name as well.
for _kind, _name in (
    (Text, "str"),
    (MarkedMarkup, "Markup"),
    (KnownList, "list"),
    (KnownTuple, "tuple"),
    (KnownDict, "dict"),
):
    _kind.__name__, _kind.__module__ = _name, "builtins"


class TemplateNamespace(Namespace):
    """As in transformers: no name that begins with an underscore."""

    def __init__(*args: Any, **named: Any) -> None:
        # `namespace(self=1)` is a template's right, so self has no name here.
        attributes = dict(*args[1:], **named)
        for name in attributes:
            TemplateNamespace._check(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        TemplateNamespace._check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace has no attributes that begin with an underscore, such as {name!r}")


def attributes_of(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return found


# ---- texts ----


def own(plain: str) -> str:
    """A template's own text."""
    return text(plain, mark(plain))


def text(plain: str, marked: str) -> str:
    """The text `plain`, of which `marked` is the marked form."""
    if plain == marked:
        return plain
    return MarkedMarkup(plain, marked) if isinstance(plain, Markup) else Text(plain, marked)


def marked(value: str) -> str:
    """The text with stand-ins; no Markup."""
    return value._marked if isinstance(value, (Text, MarkedMarkup)) else str.__str__(value)


def has_marks(value: object) -> bool:
    return isinstance(value, (Text, MarkedMarkup)) and value._marked != value


def as_marked(value: Any) -> Any:
    """What stands for a value where a text is made once more with stand-ins: a text's marked form, of the same kind."""
    if isinstance(value, MarkedMarkup):
        return Markup(value._marked)
    return value._marked if isinstance(value, Text) else value


def with_marks(plain: T, candidate: object) -> T:
    """What was made, with the marks of what was made of the marked forms, if both are the same to a reader."""
    if isinstance(plain, str) and isinstance(candidate, str):
        form = str.__str__(candidate)
        if form != plain and unmark(form) == plain:
            return cast(T, text(plain, form))
    return plain


# ---- all values ----


def weigh(value: object) -> int:
    """Characters and items of a value, counted through containers, as often as they are in it; LimitError above the
    limits. A namespace weighs nothing: it is compared by what it is, not by what is in it."""
    return _measure(value)[0]


def _measure(value: object) -> tuple[int, int]:
    """Weight, and levels of containers."""
    weight = deepest = 0
    pending = [(value, 0)]
    while pending:
        item, level = pending.pop()
        if isinstance(item, str):
            weight += len(item) + 1
        elif isinstance(item, (KnownList, KnownTuple, KnownDict)):
            weight += item._weight
            deepest = max(deepest, level + item._levels)
        elif isinstance(item, int):
            if item.bit_length() > MAX_BITS:
                raise LimitError(f"it makes a number of more than {MAX_BITS} bits")
            weight += 1
        elif isinstance(item, _COLLECTIONS):
            weight += _ITEM_WEIGHT * len(item)
            fits(weight)
            deepest = max(deepest, level + 1)
            pending.extend((part, level + 1) for part in item)
            if isinstance(item, Mapping):
                pending.extend((part, level + 1) for part in item.values())
        else:
            weight += 1
        fits(weight)
    if deepest > MAX_LEVELS:
        raise LimitError(f"it makes a value of more than {MAX_LEVELS} levels")
    return weight, deepest


def weighed_list(items: Any) -> list[Any]:
    """The items as a list that is not too large; they may come from a generator."""
    result: list[Any] = []
    weight = 0
    for item in items:
        weight += weigh(item) + _ITEM_WEIGHT
        fits(weight)
        result.append(item)
    return result


def made(value: Any, budget: Budget) -> Any:
    """A value that a template has made: bounded, with its weight known and its memory counted."""
    if isinstance(value, str):
        return _made_text(value, budget)
    if type(value) in (list, tuple, dict):
        return _made_container(value, budget)
    weigh(value)
    return value


def _made_text(value: str, budget: Budget) -> str:
    fits(len(value))
    if isinstance(value, (Text, MarkedMarkup)):
        if value._hold is None:
            value._hold = budget.hold(sys.getsizeof(value) + sys.getsizeof(value._marked))
        return value
    hold = budget.hold(2 * sys.getsizeof(value))  # the text and its marked form
    if hold is None:
        return value
    held = MarkedMarkup(value) if isinstance(value, Markup) else Text(value, value)
    held._hold = hold
    return held


def _made_container(value: Any, budget: Budget) -> Any:
    weight, levels = _measure(value)
    known: KnownList | KnownTuple | KnownDict
    if isinstance(value, dict):
        known = KnownDict(value)
        n_bytes = _PAIR_BYTES * len(value)
    else:
        known = KnownList(value) if isinstance(value, list) else KnownTuple(value)
        n_bytes = _ITEM_BYTES * len(value)
    known._weight, known._levels = weight, levels
    known._hold = budget.hold(n_bytes + weight)
    return known


def given(value: Any, budget: Budget) -> Any:
    """A message, or what else is given to a template, as the plain values of JSON: without stand-ins that somebody
    forged, and without objects."""
    if isinstance(value, str):
        return said(str.__str__(value))
    if isinstance(value, Mapping):
        return made({given(key, budget): given(item, budget) for key, item in value.items()}, budget)
    if isinstance(value, (list, tuple)):
        return made([given(item, budget) for item in value], budget)
    return value if value is None or isinstance(value, (bool, int, float)) else f"<{type(value).__name__}>"
