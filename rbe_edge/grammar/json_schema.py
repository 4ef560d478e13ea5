"""JSON Schema into a grammar: every text that fits the grammar is a value that the schema allows.

What is understood: type (one or several), properties, required, additionalProperties, items, prefixItems, minItems,
maxItems, enum, const, anyOf, oneOf (as anyOf), allOf of one, $ref to the schema itself and its $defs, minLength,
maxLength, pattern, format, bounds of numbers. Properties come in the order of the schema, and no others where it names
some. Every other keyword that would restrict the value is refused by name.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from rbe_edge.grammar import grammar
from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.grammar import Chain, Choice, GrammarError, Literal, Node, Reference
from rbe_edge.grammar.number_range import integer_between, number_between
from rbe_edge.grammar.pattern import Budget, PatternError, string_that_fits

_MAX_DEPTH = 48
_MAX_PARTS = 5000  # schemas in a schema
_MAX_COUNT = 1_000_000  # of minLength, maxItems and the like
_MAX_NUMBER = 10**18
_MAX_DIGITS = 20  # behind the point, of bounds
_ANNOTATIONS = frozenset(
    "title description default examples example $schema $id $comment deprecated readOnly writeOnly $defs definitions "
    "strict".split()
)
_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
_TYPED = set().union(*_OF_TYPE.values())


class SchemaError(Exception):
    """A schema that is malformed or uses what is not supported; the message says where and what."""


def schema_grammar(schema: object) -> Node:
    """The grammar of a schema, measured. Raises SchemaError."""
    try:
        return grammar.measure(_Compiler(schema).compile(schema, "the schema", 0))
    except GrammarError as error:
        raise SchemaError(f"the schema cannot be used: {error}") from None


@functools.lru_cache(maxsize=4)
def text_grammar(schema: str) -> Node:
    """The same for a schema as JSON. The latest ones are cached, because programs send the same schema again."""
    return schema_grammar(json.loads(schema))


class _Compiler:
    def __init__(self, root: object) -> None:
        self._root = root
        self._references: dict[str, Reference] = {}
        self._strings: dict[tuple[str, int, int | None], Node] = {}
        self._budget = Budget()
        self._parts = 0

    def compile(self, schema: object, where: str, depth: int) -> Node:
        self._parts += 1
        _require(depth <= _MAX_DEPTH, f"{where} is nested more than {_MAX_DEPTH} deep")
        _require(self._parts <= _MAX_PARTS, f"the schema has more than {_MAX_PARTS} parts")
        if schema is True:
            return grammar.any_value()
        _require(schema is not False, f"{where} is false, which no value fits")
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{where} must be an object")
        keys = {key for key in schema if key not in _ANNOTATIONS}
        rules: dict[str, Callable[[Mapping[str, Any], str, int], Node]] = {
            "$ref": self._ref, "const": self._const, "enum": self._enum,
            "anyOf": functools.partial(self._any_of, "anyOf"), "oneOf": functools.partial(self._any_of, "oneOf"),
        }  # fmt: skip
        for name, rule in rules.items():
            if name in keys:
                beside = keys - {name} - ({"type"} if name in ("const", "enum") else set())
                _require(not beside, f"{where}: {_list(beside)} beside `{name}` is not supported")
                return rule(schema, where, depth)
        if "allOf" in keys:
            several = schema["allOf"]
            alone = isinstance(several, list) and len(several) == 1 and keys == {"allOf"}
            _require(alone, f"{where}: `allOf` is supported with one schema and nothing beside it")
            return self.compile(several[0], where, depth + 1)
        unknown = keys - {"type"} - _TYPED
        _require(not unknown, f"{where}: {_list(unknown)} is not supported")
        return self._of_types(schema, keys - {"type"}, where, depth)

    def _of_types(self, schema: Mapping[str, Any], keys: set[str], where: str, depth: int) -> Node:
        if "type" in schema:
            types = _types(schema, where)
        elif not keys:
            return grammar.any_value()
        else:  # `properties` and the like restrict one type and allow all others
            types = [name for name, own in _OF_TYPE.items() if own & keys]
            if types == ["integer", "number"]:
                types = ["number"]
            _require(len(types) == 1, f"{where} has no `type`; say which")
        allowed = set().union(*(_OF_TYPE[name] for name in types))
        _require(keys <= allowed, f"{where}: {_list(keys - allowed)} is not supported for type {' or '.join(types)}")
        options = [getattr(self, f"_{name}")(schema, where, depth) for name in types]
        return options[0] if len(options) == 1 else Choice(*options)

    # ---- by keyword ----

    def _ref(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        target = schema["$ref"]
        _require(isinstance(target, str), f"{where}: `$ref` must be a text")
        if target not in self._references:
            found: Any = self._root
            steps = target.split("/")
            local = target == "#" or (len(steps) == 3 and steps[0] == "#" and steps[1] in ("$defs", "definitions"))
            _require(local, f"{where}: $ref {json.dumps(target)} is not supported; use # or #/$defs/NAME")
            for step in steps[1:]:
                name = step.replace("~1", "/").replace("~0", "~")
                found = found.get(name) if isinstance(found, Mapping) else None
            _require(found is not None, f"{where}: $ref {json.dumps(target)} leads nowhere")
            reference = self._references[target] = Reference()
            reference.target = self.compile(found, target, depth + 1)
        return self._references[target]

    def _const(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        return self._values([schema["const"]], schema, where)

    def _enum(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        values = schema["enum"]
        _require(isinstance(values, list) and values, f"{where}: `enum` must be a list of values")
        return self._values(values, schema, where)

    def _values(self, values: Iterable[object], schema: Mapping[str, Any], where: str) -> Node:
        if "type" in schema:
            types = _types(schema, where)
            values = [value for value in values if any(_is_of_type(value, name) for name in types)]
        texts = list(dict.fromkeys(json.dumps(value, ensure_ascii=False).encode() for value in values))
        _require(bool(texts), f"{where}: no value has the `type`")
        self._parts += len(texts)
        _require(self._parts <= _MAX_PARTS, f"the schema has more than {_MAX_PARTS} parts")
        return Choice(*map(Literal, texts))

    def _any_of(self, name: str, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        options = schema[name]
        _require(isinstance(options, list) and options, f"{where}: `{name}` must be a list of schemas")
        return Choice(*(self.compile(one, f"{where}.{name}[{i}]", depth + 1) for i, one in enumerate(options)))

    # ---- by type; called as _NAME ----

    def _object(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        _require(isinstance(properties, Mapping), f"{where}: `properties` must be an object")
        named = isinstance(required, list) and all(isinstance(name, str) for name in required)
        _require(named, f"{where}: `required` must be a list of names")
        others = schema.get("additionalProperties", True)
        if not properties and not required:
            if others is False:
                return Chain(Literal(b"{"), grammar.WHITESPACE, Literal(b"}"))
            return grammar.mapping(self.compile(others, f"{where}.additionalProperties", depth + 1))
        members = [(name, self.compile(part, f"{where}.{name}", depth + 1)) for name, part in properties.items()]
        for name in dict.fromkeys(required):
            if name not in properties:
                _require(others is not False, f"{where}: {json.dumps(name)} is required and not among `properties`")
                members.append((name, self.compile(others, f"{where}.{name}", depth + 1)))
        return _members(members, set(required))

    def _array(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        low, high = _counts(schema, "minItems", "maxItems", where)
        first, items = schema.get("prefixItems"), schema.get("items", True)
        if first is None:
            return grammar.array(self.compile(items, f"{where}.items", depth + 1), low, high)
        _require(isinstance(first, list) and first, f"{where}: `prefixItems` must be a list of schemas")
        nodes = [self.compile(one, f"{where}.prefixItems[{i}]", depth + 1) for i, one in enumerate(first)]
        others = None if items is False else self.compile(items, f"{where}.items", depth + 1)
        return grammar.prefixed_array(nodes, others, low, high)

    def _string(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        low, high = _counts(schema, "minLength", "maxLength", where)
        _require(not {"pattern", "format"} <= schema.keys(), f"{where}: `format` beside `pattern` is not supported")
        name = schema.get("format")
        known = isinstance(name, str) and name in FORMATS
        _require("format" not in schema or known, f"{where}: `format` is supported as {', '.join(FORMATS)}")
        pattern = FORMATS[str(name)] if known else schema.get("pattern")
        if pattern is None and "pattern" not in schema:
            return grammar.string(low, high)
        _require(isinstance(pattern, str), f"{where}: `pattern` must be a text")
        key = (str(pattern), low, high)
        try:
            if key not in self._strings:
                self._strings[key] = string_that_fits(*key, self._budget)
        except PatternError as error:
            raise SchemaError(f"{where}: the `{'format' if known else 'pattern'}` cannot be used: {error}") from None
        return self._strings[key]

    def _integer(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        bounds = _bounds(schema, where)
        if not bounds:
            return grammar.INTEGER
        low, high = -_MAX_NUMBER, _MAX_NUMBER
        for key, bound in bounds.items():
            if key == "minimum":
                low = max(low, math.ceil(bound))
            elif key == "exclusiveMinimum":
                low = max(low, math.floor(bound) + 1)
            elif key == "maximum":
                high = min(high, math.floor(bound))
            else:
                high = min(high, math.ceil(bound) - 1)
        _require(low <= high, f"{where}: no integer is within its bounds")
        return integer_between(low, high)

    def _number(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        bounds = _bounds(schema, where)
        if not bounds:
            return grammar.NUMBER
        for key, bound in bounds.items():
            # So far from an exclusive bound a reader's 64-bit number is not the bound itself.
            step = Decimal(1).scaleb(len(str(int(abs(bound)))) - 15)
            bounds[key] = bound + {"exclusiveMinimum": step, "exclusiveMaximum": -step}.get(key, 0)
        low = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=None)
        high = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=None)
        _require(low is None or high is None or low <= high, f"{where}: no number is within its bounds")
        return number_between(low, high)

    def _boolean(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        return grammar.BOOLEAN

    def _null(self, schema: Mapping[str, Any], where: str, depth: int) -> Node:
        return grammar.NULL


def _members(members: list[tuple[str, Node]], required: set[str]) -> Node:
    """An object of these members, in this order. Built from its end: what may follow after another member, and what
    may follow where none came before."""
    end = Literal(b"}")
    after: Node = end  # with a member before
    at_first: Node = end
    for name, value in reversed(members):
        key = Literal(json.dumps(name, ensure_ascii=False).encode())
        member = Chain(key, grammar.WHITESPACE, Literal(b":"), grammar.WHITESPACE, value, grammar.WHITESPACE, after)
        following = Chain(Literal(b","), grammar.WHITESPACE, member)
        optional = name not in required
        after, at_first = (
            Choice(following, after) if optional else following,
            Choice(member, at_first) if optional else member,
        )
    return Chain(Literal(b"{"), grammar.WHITESPACE, at_first)


def _types(schema: Mapping[str, Any], where: str) -> list[str]:
    given = schema["type"]
    types = given if isinstance(given, list) else [given]
    known = bool(types) and all(isinstance(name, str) and name in _OF_TYPE for name in types)
    _require(known, f"{where}: `type` must be one of {', '.join(_OF_TYPE)}, or a list of them")
    return list(dict.fromkeys(types))


def _is_of_type(value: object, name: str) -> bool:
    if name == "integer" or name == "number":
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and (name == "number" or value == int(value))  # type: ignore[call-overload]
    kinds = {"object": Mapping, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[name])


def _bounds(schema: Mapping[str, Any], where: str) -> dict[str, Decimal]:
    """minimum, maximum and their exclusive forms, as they are written in decimals."""
    found = {}
    for key in _OF_TYPE["number"] & schema.keys():
        bound = schema[key]
        number = isinstance(bound, (int, float)) and not isinstance(bound, bool) and math.isfinite(bound)
        _require(number and abs(bound) <= _MAX_NUMBER, f"{where}: `{key}` must be a number within +-1e18")
        found[key] = Decimal(repr(bound))
        precise = -int(found[key].as_tuple().exponent) <= _MAX_DIGITS
        _require(precise, f"{where}: `{key}` may have {_MAX_DIGITS} digits behind the point")
    return found


def _counts(schema: Mapping[str, Any], least: str, most: str, where: str) -> tuple[int, int | None]:
    for key in (least, most):
        count = schema.get(key, 0)
        whole = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MAX_COUNT
        _require(whole, f"{where}: `{key}` must be a whole number from 0 to {_MAX_COUNT}")
    low, high = schema.get(least, 0), schema.get(most)
    _require(high is None or low <= high, f"{where}: `{least}` is above `{most}`")
    return low, high


def _list(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(map(str, names)))


def _require(condition: object, message: str) -> None:
    if not condition:
        raise SchemaError(message)
