"""A Jinja environment in which a template from an unknown file can neither reach the program nor exhaust it.

Jinja's sandbox keeps a template from Python's internals, but lets it loop for ever or build texts of any size. Here the
parsed template is transformed (template_tree). What an operation will make is bounded before it makes it, all that is
held at a time is counted, and every loop step, call, filter and piece of output takes from one budget
(template_budget).

Trimming, break and continue, raise_exception, strftime_now, tojson and the `generation` tag are those of Hugging Face
transformers (apply_chat_template), for which chat templates are written.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.ext import Extension, LoopControlExtension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context
from markupsafe import Markup

from rbe_edge.runtime.marked_text import can_be_marked
from rbe_edge.runtime.template_budget import MAX_BITS, Budget, LimitError, fits
from rbe_edge.runtime.template_filters import TEMPLATE_FILTERS, TemplateDict
from rbe_edge.runtime.template_format import formatted, joined, percent, spelled
from rbe_edge.runtime.template_texts import METHODS, call_method
from rbe_edge.runtime.template_tree import MAX_TOKENS, check_tree, transform
from rbe_edge.runtime.template_values import (
    KnownDict,
    TemplateNamespace,
    Text,
    as_marked,
    attributes_of,
    given,
    has_marks,
    made,
    own,
    text,
    weigh,
    with_marks,
)

_MAX_PATTERN = 1000  # characters of a format of the time
_TEXTS = (str, Text)
_SEQUENCES = (str, list, tuple)
_DICT_ATTRIBUTES = frozenset(dir(KnownDict))


class _GenerationTag(Extension):
    """{% generation %}: marks the assistant's words for training; here it is just output, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(line)

    def written(self, caller: Callable[[], str]) -> str:
        return caller()


class _TokenCount(Extension):
    """Stops the parser of a template that is too long."""

    environment: BoundedEnvironment

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for index, token in enumerate(stream):
            self.environment.budget.tick()
            if index > MAX_TOKENS:
                raise LimitError(f"it has more than {MAX_TOKENS} words and signs")
            yield token


class _BoundedGenerator(CodeGenerator):
    """Stops when the time is over."""

    environment: BoundedEnvironment

    def visit(self, node: nodes.Node, *arguments: Any, **named: Any) -> Any:
        self.environment.budget.tick()
        return super().visit(node, *arguments, **named)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Compile and render within `with environment.bounded():`. Any number of threads may, at the same time."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
    code_generator_class = _BoundedGenerator

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            cache_size=0,
            extensions=[LoopControlExtension, _GenerationTag, _TokenCount],
        )
        self._running = threading.local()
        self._own: dict[str, str] = {}  # the template's texts, marked
        self.filters = {
            **{name: self._bounded(name, function) for name, function in TEMPLATE_FILTERS.items()},
            # Only template_tree writes these. Those that take the context are never computed while compiling.
            "each step": pass_context(lambda context, iterable: self._each_step(iterable)),
            "the output": pass_context(lambda context, value: self._output(value)),
            "own text": self._own.__getitem__,
            "a value": self._made,
            "a comparison": self._compared,
            "as one text": self._as_one_text,
        }
        self.tests = {name: self._ticking(cast(Any, function)) for name, function in self.tests.items()}
        self.globals = {
            **{name: self.globals[name] for name in ("range", "cycler", "joiner")},
            "dict": TemplateDict(),
            "namespace": TemplateNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    # ---- the budget ----

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Gives this thread's compilation or rendering its budget."""
        self._running.budget = Budget()
        try:
            yield
        finally:
            del self._running.budget

    @property
    def budget(self) -> Budget:
        """Of what this thread compiles or renders."""
        budget: Budget = self._running.budget
        return budget

    def given(self, value: Any) -> Any:
        """What is given to a template, such as messages."""
        return given(value, self.budget)

    def _made(self, value: Any) -> Any:
        return made(value, self.budget)

    def _compared(self, value: Any) -> Any:
        self.budget.tick()
        return value

    def _each_step(self, iterable: Iterable[Any]) -> Iterator[Any]:
        budget = self.budget
        for item in iterable:
            budget.step()
            yield item

    def _output(self, value: Any) -> str:
        budget = self.budget
        budget.step()
        written = spelled(value)
        budget.write(len(written))
        return written

    def _as_one_text(self, values: list[Any]) -> Any:
        self.budget.step()
        return self._made(joined([spelled(value) for value in values]))

    def concat(self, pieces: Iterable[str]) -> Any:
        """What a template, block or macro has written."""
        return self._made(joined(list(pieces)))

    # ---- where the sandbox asks ----

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self.budget.step()
        subject = getattr(function, "__self__", None)
        if isinstance(subject, str):
            # Jinja gives calls in loops and blocks their variables, which a method of a text does not know.
            named = {key: value for key, value in named.items() if key not in ("_loop_vars", "_block_vars")}
            return self._made(call_method(subject, function.__name__, *arguments, **named))
        if isinstance(function, LoopContext) and arguments:
            arguments = (self._each_step(arguments[0]), *arguments[1:])
        return self._made(super().call(context, function, *arguments, **named))

    def getitem(self, obj: Any, argument: Any) -> Any:
        self.budget.tick()
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        self.budget.tick()
        # What the sandbox would find, without what takes it most of its time: failing to find it elsewhere first.
        if type(obj) is TemplateNamespace and attribute in attributes_of(obj):
            return attributes_of(obj)[attribute]
        if type(obj) is KnownDict and attribute in obj and attribute not in _DICT_ATTRIBUTES:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if (isinstance(obj, str) and attr not in METHODS) or attr in ("to_bytes", "from_bytes"):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        form = getattr(value, "__self__", None)
        name = getattr(value, "__name__", "")
        if not isinstance(form, str) or isinstance(form, Markup) or name not in ("format", "format_map"):
            return None
        if name == "format_map":
            return lambda values: formatted(self, form, (), values)
        return lambda *arguments, **named: formatted(self, form, arguments, named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.budget.step()
        if operator == "+" and type(left) in _TEXTS and type(right) in _TEXTS:
            return self._made(joined((left, right)))
        if operator == "%" and isinstance(left, str):
            return self._made(percent(left, right))
        _check_operands(operator, left, right)
        plain = super().call_binop(context, operator, left, right)
        if isinstance(plain, str) and (has_marks(left) or has_marks(right)):
            again = super().call_binop(context, operator, as_marked(left), as_marked(right))
            # Only Markup changes what it is added to.
            plain = with_marks(plain, again) if isinstance(plain, Markup) else text(plain, again)
        return self._made(plain)

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # A filter that wants the context or environment gets it first (functools.wraps keeps the mark).
        at = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def bounded(*arguments: Any, **named: Any) -> Any:
            self.budget.step()
            if name == "unique" and len(arguments) > at:
                arguments = (*arguments[:at], self._each_step(arguments[at]), *arguments[at + 1 :])
            result = function(*arguments, **named)
            if isinstance(result, Iterator):
                return self._each_step(result)
            return self._made(result)

        return bounded

    def _ticking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def ticking(*arguments: Any, **named: Any) -> Any:
            self.budget.tick()
            return function(*arguments, **named)

        return ticking

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        check_tree(tree)
        transform(tree, self._keep)
        tree.set_environment(self)
        return tree

    def _keep(self, value: str) -> bool:
        if can_be_marked(value):
            self._own[value] = own(value)
        return can_be_marked(value)


def _check_operands(operator: str, left: Any, right: Any) -> None:
    """LimitError for what would make too much."""
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * abs(right) > MAX_BITS:
            raise LimitError(f"it makes a number of more than {MAX_BITS} bits")
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(value, _SEQUENCES) and isinstance(times, int):
                fits((len(value) if isinstance(value, str) else weigh(value)) * max(times, 0))
    elif operator == "+" and isinstance(left, _SEQUENCES) and isinstance(right, _SEQUENCES):
        fits(weigh(left) + weigh(right))


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str.__str__(spelled(message)))


def _strftime_now(pattern: str) -> str:
    # A width such as %1000000000d is an extension of some C libraries that would fill the memory.
    if len(pattern) > _MAX_PATTERN or not re.fullmatch(r"(?:[^%]|%-?[A-Za-z%])*", pattern):
        raise LimitError("it formats the time in a way that is not allowed here")
    return datetime.now().strftime(pattern)
