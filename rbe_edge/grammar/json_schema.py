"""JSON Schema as people write it, put into the part of it that llguidance compiles, and compiles as it is meant.

References become `#/$defs/NAME`, patterns are Rust's, formats are patterns, bounds are inclusive, annotations and words
that JSON Schema does not know are gone. What would restrict the value and cannot be kept is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rbe_edge.grammar.decimal_patterns import without_looking_ahead
from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.in_other_words import in_other_words
from rbe_edge.grammar.keywords import REFUSED, TYPES, counted, old_draft, significant, types_of
from rbe_edge.grammar.numbers import BOUNDS, exact, numeric, states
from rbe_edge.grammar.objects import member_names, without_property_names
from rbe_edge.grammar.pattern import PatternError, rust_pattern
from rbe_edge.grammar.possible import pruned
from rbe_edge.grammar.references import References, inner_base
from rbe_edge.grammar.schema_error import SchemaError, require

# Compiling takes time with the parts and the squares, and stack with the depth. Measured with llguidance 1.9: about a
# second, and a tenth of the 8 MB of a thread's stack, at these bounds.
_MAX_DEPTH = 100  # schemas in schemas, references followed
_MAX_PARTS = 5000  # schemas and values
_MAX_OPTIONAL = 400  # of an object; of more, an answer cannot be followed
_MAX_OPTIONAL_SQUARES = 1_000_000  # of all objects: what compiling them takes grows so
_MAX_OPTIONS = 500  # of `anyOf`
_MAX_PATTERNS = 12  # of one text, and of the names of one object twice as many
_STATES_OF_PART = 50  # of a `multipleOf`, compiled in the time of another part
_APPLICATORS = frozenset(("allOf", "anyOf", "oneOf", "$ref"))


@dataclass(frozen=True)
class _Place:
    """Where a schema stands. composed: it is one of several that hold for the same value, so that it must not exclude
    what the others name. patterns: counts those that the same value must fit, in one cell."""

    where: str
    base: str
    depth: int = 0
    composed: bool = False
    patterns: list[int] = field(default_factory=lambda: [0])

    def part(self, name: str) -> _Place:
        """Of another value."""
        return _Place(_longer(self.where, name), self.base, self.depth + 1)

    def same(self, name: str, composed: bool) -> _Place:
        """Of the same value."""
        return replace(self, where=_longer(self.where, name), depth=self.depth + 1, composed=composed)


def _longer(where: str, name: str) -> str:
    """On one line, and its end where it is long."""
    found = f"{where}.{name if name.isprintable() and len(name) <= 60 else json.dumps(name)[:60]}"
    return found if len(found) <= 160 else f"the schema, at ...{found[-120:]}"


class Reduced(NamedTuple):
    """schema: of the same values, or of some of them. examples: texts that its patterns look for. effort: what
    compiling it takes, 1 being the most for one schema."""

    schema: dict[str, Any]
    examples: list[str]
    effort: float


def reduced_schema(schema: Any) -> Reduced:
    """Raises SchemaError."""
    return _Reducer(schema).reduce()


class _Reducer:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._references = References(root)
        self._old = old_draft(root)
        self._definitions: dict[str, Any] = {}
        self._names: dict[tuple[str, bool], str] = {}
        self._weights: dict[str, int] = {}  # patterns of a definition
        self._examples: dict[str, None] = {}
        self._parts = self._squares = 0

    def reduce(self) -> Reduced:
        root = self._schema(self._root, _Place("the schema", ""))
        found = pruned(root, self._definitions)
        require(found is not False, "no value fits the schema")
        assert isinstance(found, dict)
        effort = max(self._parts / _MAX_PARTS, self._squares / _MAX_OPTIONAL_SQUARES)
        return Reduced(found, list(filter(None, self._examples)), effort)

    def _schema(self, schema: Any, place: _Place) -> Any:
        """False, or a schema as an object."""
        where = place.where
        self._parts += 1
        require(place.depth <= _MAX_DEPTH, f"{where} is nested more than {_MAX_DEPTH} deep")
        require(self._parts <= _MAX_PARTS, f"the schema has more than {_MAX_PARTS} parts")
        if isinstance(schema, bool):
            return {} if schema else False
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{where} must be an object")
        place = replace(place, base=inner_base(place.base, schema))
        if self._old and "$ref" in schema:
            schema = {"$ref": schema["$ref"]}  # up to draft 7 nothing beside it counts
        schema = without_property_names(schema, where, lambda reference: self._named(reference, place).schema)
        schema = in_other_words(schema, where)
        for key in schema:
            require(key not in REFUSED or not REFUSED[key](schema), f"{where}: `{key}` is not supported")
        return self._rules(schema, place)

    def _rules(self, schema: Mapping[str, Any], place: _Place) -> dict[str, Any]:
        rules: dict[str, Callable[[Mapping[str, Any], _Place, dict[str, Any]], None]] = {
            "type": self._type, "enum": self._enum, "const": self._const, "$ref": self._ref,
            "anyOf": self._any_of, "oneOf": self._one_of, "allOf": self._all_of,
            "properties": self._object, "patternProperties": self._object, "additionalProperties": self._object,
            "required": self._object, "minProperties": self._object, "maxProperties": self._object,
            "unevaluatedProperties": self._object, "items": self._array, "prefixItems": self._array,
            "additionalItems": self._array, "minItems": self._array, "maxItems": self._array,
            "unevaluatedItems": self._array, "minLength": self._string, "maxLength": self._string,
            "pattern": self._string, "format": self._string, "multipleOf": self._number,
            **dict.fromkeys(BOUNDS, self._number),
        }  # fmt: skip
        found: dict[str, Any] = {}
        done: set[Any] = set()
        for key in schema:
            rule = rules.get(key)
            if rule is not None and rule not in done:
                done.add(rule)
                rule(schema, place, found)
        found.setdefault("allOf", [])
        self._close(schema, place, found)
        if not found["allOf"]:
            del found["allOf"]
        return found

    # ---- by keyword ----

    def _type(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        given = schema["type"]
        types = given if isinstance(given, list) else [given]
        known = bool(types) and all(isinstance(name, str) and name in TYPES for name in types)
        require(known, f"{place.where}: `type` must be one of {', '.join(TYPES)}, or a list of them")
        found["type"] = types[0] if len(types) == 1 else list(dict.fromkeys(types))

    def _enum(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        values = schema["enum"]
        require(isinstance(values, list) and values, f"{place.where}: `enum` must be a list of values")
        self._value(values, place)
        found["enum"] = values

    def _const(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        self._value(schema["const"], place)
        found["const"] = schema["const"]

    def _value(self, value: Any, place: _Place) -> None:
        pending = [value]
        while pending:
            one = pending.pop()
            self._parts += 1
            require(self._parts <= _MAX_PARTS, f"the schema has more than {_MAX_PARTS} parts")
            if isinstance(one, (list, Mapping)):
                pending += one.values() if isinstance(one, Mapping) else one
            elif isinstance(one, (int, float)) and not isinstance(one, bool):
                exact(one, place.where)

    def _named(self, reference: Any, place: _Place) -> Any:
        require(isinstance(reference, str), f"{place.where}: `$ref` must be a text")
        return self._references.find(reference, place.base, place.where)

    def _ref(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        target = self._named(schema["$ref"], place)
        composed = place.composed or not significant(schema) <= {"$ref"}
        key = (target.key, composed)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"d{len(self._names)}"
            self._weights[name] = 0
            before = place.patterns[0]
            inner = replace(place, where=_longer("$ref", schema["$ref"]), base=target.base, depth=place.depth + 1)
            self._definitions[name] = self._schema(target.schema, replace(inner, composed=composed))
            self._weights[name] = place.patterns[0] - before
        else:
            self._pattern_more(place, self._weights[name])
        found["$ref"] = f"#/$defs/{name}"

    def _any_of(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        found["anyOf"] = self._options("anyOf", schema, place)

    def _one_of(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        found["oneOf"] = self._options("oneOf", schema, place)

    def _options(self, name: str, schema: Mapping[str, Any], place: _Place) -> list[Any]:
        options = schema[name]
        require(isinstance(options, list) and options, f"{place.where}: `{name}` must be a list of schemas")
        require(len(options) <= _MAX_OPTIONS, f"{place.where}: `{name}` has more than {_MAX_OPTIONS} schemas")
        composed = place.composed or not significant(schema) <= {name, "type"}
        before = most = place.patterns[0]
        parts = []
        for index, option in enumerate(options):
            place.patterns[0] = before
            parts.append(self._schema(option, place.same(f"{name}[{index}]", composed)))
            most = max(most, place.patterns[0])
        place.patterns[0] = most
        return parts

    def _all_of(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        parts = schema["allOf"]
        require(isinstance(parts, list) and parts, f"{place.where}: `allOf` must be a list of schemas")
        composed = place.composed or len(parts) > 1 or not significant(schema) <= {"allOf", "type"}
        members = [self._schema(one, place.same(f"allOf[{i}]", composed)) for i, one in enumerate(parts)]
        found["allOf"] = [*found.get("allOf", ()), *members]

    def _object(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        where, required = place.where, schema.get("required", [])
        named = isinstance(required, list) and all(isinstance(name, str) for name in required)
        require(named, f"{where}: `required` must be a list of names")
        for key in ("properties", "patternProperties"):
            parts = schema.get(key, {})
            require(isinstance(parts, Mapping), f"{where}: `{key}` must be an object")
            if key in schema:
                found[key] = {name: self._schema(one, place.part(str(name))) for name, one in parts.items()}
        patterns = found.get("patternProperties")
        if patterns is not None:
            require(len(patterns) <= 2 * _MAX_PATTERNS, f"{where}: `patternProperties` has too many patterns")
            found["patternProperties"] = {self._rust(name, where, "pattern"): one for name, one in patterns.items()}
        optional = len(found.get("properties", {}).keys() - set(required))
        self._squares += optional**2
        fits = optional <= _MAX_OPTIONAL and self._squares <= _MAX_OPTIONAL_SQUARES
        require(fits, f"{where}: more than {_MAX_OPTIONAL} properties are not `required`, here or in all")
        if required:
            found["required"] = list(dict.fromkeys(required))
        if "additionalProperties" in schema:
            found["additionalProperties"] = self._schema(
                schema["additionalProperties"], place.part("additionalProperties")
            )
        found.update(counted(schema, "minProperties", "maxProperties", where))

    def _array(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        first, items, where = schema.get("prefixItems"), schema.get("items"), place.where
        if isinstance(items, list):  # up to draft 2019-09
            first, items = items, schema.get("additionalItems")
        if schema.get("unevaluatedItems", True) is not True and items is None:
            alone = not significant(schema) & _APPLICATORS and not place.composed
            require(alone, f"{where}: `unevaluatedItems` is not supported here")
            items = schema["unevaluatedItems"]
        require(first is None or isinstance(first, list), f"{where}: `prefixItems` must be a list of schemas")
        if first:
            found["prefixItems"] = [
                self._schema(one, place.part(f"prefixItems[{index}]")) for index, one in enumerate(first)
            ]
        if items is not None:
            found["items"] = self._schema(items, place.part("items"))
        found.update(counted(schema, "minItems", "maxItems", where))

    def _string(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        where, name, pattern = place.where, schema.get("format"), schema.get("pattern")
        found.update(counted(schema, "minLength", "maxLength", where))
        require("pattern" not in schema or isinstance(pattern, str), f"{where}: `pattern` must be a text")
        require(name is None or isinstance(name, str), f"{where}: `format` must be a text")
        texts = [self._rust(pattern, where, "pattern")] if isinstance(pattern, str) else []
        if isinstance(name, str) and "string" in types_of(schema) and name in FORMATS:
            texts.append(self._rust(FORMATS[name], where, "format"))
        self._pattern_more(place, len(texts))
        if texts:
            found["pattern"] = texts[0]
            found.setdefault("allOf", []).extend({"pattern": text} for text in texts[1:])

    def _pattern_more(self, place: _Place, count: int) -> None:
        place.patterns[0] += count
        require(place.patterns[0] <= _MAX_PATTERNS, f"{place.where}: more than {_MAX_PATTERNS} patterns for one text")

    def _rust(self, pattern: str, where: str, kind: str) -> str:
        try:
            found = rust_pattern(without_looking_ahead(pattern))
        except PatternError as error:
            raise SchemaError(f"{where}: the `{kind}` cannot be used: {error}") from None
        self._examples[found.example] = None
        return found.text

    def _number(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        types = types_of(schema)
        found.update(numeric(schema, "integer" in types and "number" not in types, place.where))
        self._parts += states(found.get("multipleOf", 0)) // _STATES_OF_PART

    # ---- objects name what they have ----

    def _close(self, schema: Mapping[str, Any], place: _Place, found: dict[str, Any]) -> None:
        """An object that names properties has no others, unless the schema says something else: a model that may go on
        with names of its own often does not end."""
        demanded = schema.get("unevaluatedProperties", True) is not True and "additionalProperties" not in schema
        if place.composed and not demanded:
            return
        words = significant(schema) - {"type"}
        several = bool(words & _APPLICATORS) and (len(words) > 1 or len(schema.get("allOf") or ()) > 1)
        if words & _APPLICATORS and not several:
            return  # each of them does it for itself
        members = member_names(schema, place.base, lambda name, base: self._references.find(name, base, place.where))
        if demanded:
            apart = f"{place.where}: `unevaluatedProperties` with `anyOf` or `oneOf` is not supported"
            require(not members.branches, apart)
        elif members.decided or not (members.names or members.patterns) or (several and members.patterns):
            return
        closed = {"properties": {name: {} for name in members.names}, "additionalProperties": False}
        if several:
            found["allOf"].append(closed)
            return
        found["properties"] = {
            **found.get("properties", {}),
            **{name: {} for name in members.names if name not in found.get("properties", {})},
        }
        found["additionalProperties"] = False
