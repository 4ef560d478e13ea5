"""A Jinja environment in which a template from an unknown file can neither reach the program nor exhaust it.

Jinja's sandbox keeps a template from Python's internals, but lets it loop for ever or build texts of any size. Here the
parsed template is transformed. The size of every value is checked when the value is made, and every loop step, call,
filter and piece of output takes from one budget. So no value is large, and no run long.

Trimming, break and continue, raise_exception, strftime_now, tojson and the `generation` tag are those of Hugging Face
transformers (apply_chat_template), for which chat templates are written.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from rbe_edge.runtime.marked_text import can_be_marked, mark, unmark

# Far above what a chat needs (a full context of 128 Ki tokens has about 500,000 characters), far below what hurts.
MAX_WEIGHT = 1_000_000  # characters and items of one value, and characters of all output
_ITEM_WEIGHT = 8  # an item of a list takes a pointer at least, and is slower to go through than a character
MAX_STEPS = 300_000
MAX_SECONDS = 5.0
MAX_BITS = 4096  # of a whole number
MAX_ARGUMENT = 64  # of indent, tojson and the separator of join, by which the size of a text is multiplied

_FILTERS = (
    "abs capitalize count d default dictsort e escape first float indent int items join last length list lower map max "
    "min reject rejectattr replace reverse round safe select selectattr sort string striptags title trim unique upper"
).split()
# Filters whose arguments may become output, and those that read a text rather than pass it on: see _transform.
_GIVING = frozenset(["d", "default", "join", "replace"])
_READING = frozenset(["e", "escape", "float", "int", "striptags", "tojson"])
_TEXT_METHODS = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
    "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper".split()
)


class LimitError(Exception):
    """A template asked for too much."""


class _GenerationTag(Extension):
    """{% generation %}: marks the assistant's words for training; here its body is just output."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def weigh(value: object) -> int:
    """Characters and items of a value, counted through containers; LimitError above the limit or for a namespace inside
    a container, which would let values refer to one another without end."""
    weight = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            weight += len(item) + 1
        elif isinstance(item, int):
            if item.bit_length() > MAX_BITS:
                raise LimitError(f"it makes a number of more than {MAX_BITS} bits")
            weight += 1
        elif isinstance(item, Mapping):
            weight += _ITEM_WEIGHT * len(item)
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            weight += _ITEM_WEIGHT * len(item)
            if weight <= MAX_WEIGHT:
                pending.extend(item)
        elif isinstance(item, Namespace):
            raise LimitError("it puts a namespace into another value")
        else:
            weight += 1
        if weight > MAX_WEIGHT:
            raise LimitError(f"it makes a value of more than {MAX_WEIGHT} characters")
    return weight


def _check_arguments(name: str, subject: object, arguments: Iterable[object]) -> None:
    """Bounds what is multiplied with the size of the subject, before the work is done."""
    arguments = list(arguments)
    if name == "replace" and isinstance(subject, str) and len(arguments) >= 2:
        added = len(str(arguments[1]))
        if (len(subject) + 1) * added > 100 * MAX_WEIGHT:
            raise LimitError("it replaces too much")
    elif name in ("indent", "tojson", "join"):
        for argument in arguments:
            if (isinstance(argument, str) and len(argument) > MAX_ARGUMENT) or (
                isinstance(argument, int) and abs(argument) > MAX_ARGUMENT
            ):
                raise LimitError(f"it calls {name} with an argument above {MAX_ARGUMENT}")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Compile and render within `with environment.budget():`."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            cache_size=0,
            extensions=[LoopControlExtension, _GenerationTag],
        )
        self._steps = 0
        self._output = 0
        self._deadline = 0.0
        given = {name: self._bounded_filter(name, self.filters[name]) for name in _FILTERS if name in self.filters}
        self.filters = {
            **given,
            "tojson": self._bounded_filter("tojson", _tojson),
            # Only the transformation below writes these: no name of a template can have the blank.
            "each step": pass_context(lambda context, iterable: self._each_step(iterable)),
            "emit": pass_context(lambda context, value: self._emit(value)),
            "plain": unmark,
            "make": pass_context(lambda context, value: self._made(value)),
            "concatenate": pass_context(lambda context, values: self._concatenate(values)),
        }
        self.globals = {
            "range": self.globals["range"],
            "dict": dict,
            "namespace": Namespace,
            "joiner": self.globals["joiner"],
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def restart(self) -> None:
        """Fills the budget for one compilation or rendering."""
        self._steps = MAX_STEPS
        self._output = MAX_WEIGHT
        self._deadline = time.monotonic() + MAX_SECONDS

    # ---- the budget ----

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise LimitError(f"it takes more than {MAX_STEPS} steps")
        if time.monotonic() > self._deadline:
            raise LimitError(f"it takes more than {MAX_SECONDS:g} seconds")

    def _made(self, value: Any) -> Any:
        weigh(value)
        return value

    def _each_step(self, iterable: Iterable[Any]) -> Iterator[Any]:
        for item in iterable:
            self._step()
            yield item

    def _emit(self, value: Any) -> Any:
        self._step()
        self._output -= weigh(value)
        if self._output < 0:
            raise LimitError(f"it writes more than {MAX_WEIGHT} characters")
        return value

    def _concatenate(self, values: list[Any]) -> str:
        self._step()
        weigh(values)
        return "".join(map(str, values))

    # ---- where the sandbox asks ----

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self._step()
        subject = getattr(function, "__self__", None)
        if isinstance(subject, str):
            name = function.__name__
            _check_arguments(name, subject, [*arguments, *named.values()])
            if name == "join":
                _check_arguments(name, None, [subject])
                arguments = (weighed_list(arguments[0]), *arguments[1:]) if arguments else ()
        weigh(list(named.values()))
        if isinstance(subject, (str, Mapping, list, tuple)) and arguments and function.__name__ != "join":
            # A text is looked for, or a key: in the template's own words as in what was said.
            arguments = (unmark(arguments[0]), *arguments[1:])
            if isinstance(subject, str) and isinstance(arguments[0], str) and can_be_marked(arguments[0]):
                function = getattr(unmark(subject), function.__name__)
        result = super().call(context, function, *arguments, **named)
        return result if isinstance(result, Namespace) else self._made(result)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # What is not listed makes texts of any width (center, ljust, zfill, format) or no texts at all (encode).
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Jinja's way around is_safe_attribute for str.format (since 3.1.5), which is not given here."""
        return None

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._step()
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
                raise LimitError(f"it makes a number of more than {MAX_BITS} bits")
        elif operator == "%" and isinstance(left, str):
            if re.search(r"\d{3}|\*", left):
                raise LimitError("it formats a text with a width above 99")
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(times, int):
                    if weigh(text) * max(times, 0) > MAX_WEIGHT:
                        raise LimitError(f"it makes a value of more than {MAX_WEIGHT} characters")
        return self._made(super().call_binop(context, operator, left, right))

    def _bounded_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # A filter that wants the context or environment gets it first (functools.wraps keeps the mark).
        at = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def bounded(*arguments: Any, **named: Any) -> Any:
            self._step()
            subject = arguments[at] if len(arguments) > at else None
            if name not in _GIVING:
                arguments = (*arguments[: at + 1], *map(unmark, arguments[at + 1 :]))
                named = {key: unmark(value) for key, value in named.items()}
            if name in _READING:
                arguments = (*arguments[:at], unmark(subject), *arguments[at + 1 :])
            _check_arguments(name, subject, [*arguments[at + 1 :], *named.values()])
            if name == "join":
                arguments = (*arguments[:at], weighed_list(subject), *arguments[at + 1 :])
            elif name in ("string", "escape", "e", "striptags", "title", "trim", "upper", "lower", "replace", "indent"):
                weigh(subject)  # these make a text of anything
            return self._made(function(*arguments, **named))

        return bounded

    # ---- the transformation ----

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _transform(tree)
        tree.set_environment(self)
        return tree


def weighed_list(items: Any) -> list[Any]:
    """The items as a list that is not too large; they may come from a generator."""
    result: list[Any] = []
    weight = 0
    for item in items:
        weight += weigh(item)
        if weight > MAX_WEIGHT:
            raise LimitError(f"it makes a value of more than {MAX_WEIGHT} characters")
        result.append(item)
    return result


def _filtered(node: Any, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _wrap(node: nodes.Node) -> nodes.Node:
    """The node with the budget around it, where it makes a value."""
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "concatenate")
    if isinstance(node, (nodes.List, nodes.Dict)) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filtered(node, "make")
    return node


def _plain(node: nodes.Expr) -> nodes.Expr:
    """The node as people read it, for what is compared or looked up rather than written."""
    if isinstance(node, nodes.Const):
        return nodes.Const(unmark(node.value), lineno=node.lineno)
    return node if isinstance(node, nodes.Slice) else _filtered(node, "plain")


def _transform(node: nodes.Node) -> None:
    """Puts the budget into a parsed template, in place and bottom up, and marks its own words (marked_text)."""
    for field, value in list(node.iter_fields()):
        if isinstance(value, nodes.Node):
            _transform(value)
            setattr(node, field, _wrap(value))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _transform(item)
                    value[index] = _wrap(item)
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        node.value = mark(node.value)
    elif isinstance(node, nodes.Getitem):
        node.arg = _plain(node.arg)
    elif isinstance(node, nodes.Pair):
        node.key = _plain(node.key)
    elif isinstance(node, nodes.Compare):
        node.expr = _plain(node.expr)
    elif isinstance(node, nodes.Operand):
        node.expr = _plain(node.expr)
    elif isinstance(node, nodes.Test) and node.args:
        node.node = _plain(node.node)
        node.args = [_plain(argument) for argument in node.args]
    if isinstance(node, nodes.For):
        node.iter = _filtered(node.iter, "each step")
    elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.NSRef):
        node.node = _filtered(node.node, "make")
    elif isinstance(node, nodes.Output):
        node.nodes = [
            _filtered(nodes.Const(mark(n.data), lineno=n.lineno) if isinstance(n, nodes.TemplateData) else n, "emit")
            for n in node.nodes
        ]


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(unmark(str(message)))


def _strftime_now(pattern: str) -> str:
    pattern = unmark(pattern)
    # A width such as %1000000000d is an extension of some C libraries that would fill the memory.
    if not re.fullmatch(r"(?:[^%]|%-?[A-Za-z%])*", pattern):
        raise LimitError("it formats the time in a way that is not allowed here")
    return datetime.now().strftime(pattern)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    weigh(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
