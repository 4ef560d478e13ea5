"""The methods of texts, as templates call them: bounded before they run, and with marks (template_values) after.

The result is always what Python's method makes of the text as people read it. Marks are then carried over from the
marked forms of what it was made of. A method that is missing here takes or makes something else than texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from markupsafe import Markup

from rbe_edge.runtime.template_budget import compares, fits
from rbe_edge.runtime.template_values import as_marked, has_marks, marked, text, weighed_list, with_marks

_WIDE = frozenset(["center", "ljust", "rjust", "zfill"])
_STRIPPING = frozenset(["lstrip", "rstrip", "strip"])
_BACKWARDS = frozenset(["rfind", "rindex", "rpartition", "rsplit"])  # Python looks for these in quadratic time
_SAME = (*sorted(_WIDE), *"capitalize casefold expandtabs lower swapcase title upper".split())
_READING = (
    "count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable "
    "isspace istitle isupper rfind rindex startswith"
).split()

Arguments = tuple[Any, ...]
_Marking = Callable[[str, str, Any, Arguments, dict[str, Any]], Any]


def call_method(subject: str, name: str, *arguments: Any, **named: Any) -> Any:
    """subject.name(*arguments, **named). Raises what that does, and LimitError."""
    _check(subject, name, arguments, named)
    if name == "join" and arguments:
        arguments = (weighed_list(arguments[0]), *arguments[1:])
        fits(sum(len(item) + len(subject) for item in arguments[0] if isinstance(item, str)))
    plain = getattr(subject, name)(*arguments, **named)
    if isinstance(plain, list):
        fits(8 * len(plain))
    marking = _MARKING.get(name)
    if marking is None or isinstance(subject, Markup):
        return plain
    parts: Iterable[Any] = (subject, *arguments, *named.values())
    if name == "join":
        parts = (subject, *arguments[0])
    return marking(subject, name, plain, arguments, named) if any(map(has_marks, parts)) else plain


def _check(subject: str, name: str, arguments: Arguments, named: dict[str, Any]) -> None:
    given = [*arguments, *named.values()]
    for argument in given:
        if isinstance(argument, int) and name in _WIDE:
            fits(argument)
        elif isinstance(argument, int) and name == "expandtabs":
            fits(len(subject) + argument * subject.count("\t"))
        elif isinstance(argument, str) and (name in _STRIPPING or name in _BACKWARDS):
            compares(len(subject), len(argument))
    if name == "replace" and len(arguments) >= 2 and isinstance(arguments[0], str) and isinstance(arguments[1], str):
        fits(len(subject) + _times(subject, arguments, named) * (len(arguments[1]) - len(arguments[0])))


def _times(subject: str, arguments: Arguments, named: dict[str, Any]) -> int:
    """How often replace() finds something."""
    found = subject.count(arguments[0])
    count = arguments[2] if len(arguments) > 2 else named.get("count", -1)
    return min(found, count) if isinstance(count, int) and count >= 0 else found


def _same(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    again = {key: as_marked(value) for key, value in named.items()}
    return with_marks(plain, getattr(marked(subject), name)(*map(as_marked, arguments), **again))


def _replaced(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    old, new, form = arguments[0], marked(arguments[1]), marked(subject)
    times = _times(subject, arguments, named)
    if not old:  # something before each character, and at the end
        head = "".join(new + character for character in form[:times])
        return with_marks(plain, head + (new if times > len(form) else form[times:]))
    pieces, at = [], 0
    for _ in range(times):
        found = subject.find(old, at)
        pieces.append(form[at:found])
        at = found + len(old)
    return with_marks(plain, new.join([*pieces, form[at:]]))


def _split(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    """Pieces follow one another. Between two of them lies what they were split at, which is in none of them."""
    form, pieces, at = marked(subject), [], 0
    separator = (arguments[0] if arguments else named.get("sep")) if name != "splitlines" else None
    for piece in plain:
        at = at if separator else subject.find(piece, at)
        pieces.append(text(piece, form[at : at + len(piece)]))
        at += len(piece) + len(separator or "")
    return pieces


def _partitioned(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    form, pieces, at = marked(subject), [], 0
    for piece in plain:
        pieces.append(text(str(piece), form[at : at + len(piece)]))
        at += len(piece)
    return tuple(pieces)


def _cut(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    if name in ("rstrip", "removesuffix"):
        start = 0
    elif name == "strip":
        start = len(subject) - len(subject.lstrip(*arguments))
    else:
        start = len(subject) - len(plain)
    return text(str(plain), marked(subject)[start : start + len(plain)])


def _joined(subject: str, name: str, plain: Any, arguments: Arguments, named: dict[str, Any]) -> Any:
    return with_marks(plain, marked(subject).join(map(marked, arguments[0])))


_MARKING: dict[str, _Marking] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _split),
    **dict.fromkeys(("partition", "rpartition"), _partitioned),
    **dict.fromkeys(("lstrip", "removeprefix", "removesuffix", "rstrip", "strip"), _cut),
    "join": _joined,
    "replace": _replaced,
}
METHODS = frozenset([*_MARKING, *_READING])
