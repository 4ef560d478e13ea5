"""The automaton of JSON and of schemas: what it takes and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.grammar import grammar
from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.grammar import GrammarError, Node
from rbe_edge.grammar.json_schema import SchemaError, schema_grammar
from rbe_edge.grammar.number_range import integer_between

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_ANY = Automaton(grammar.any_value())


def takes(root: Node | Automaton, text: str | bytes) -> bool:
    automaton = root if isinstance(root, Automaton) else Automaton(root)
    state = automaton.run(automaton.start, text.encode() if isinstance(text, str) else text)
    return state != DEAD and automaton.accepts(state)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1, 2]))
def test_takes_what_json_dumps_writes(value: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert takes(_ANY, text)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans(), st.data())
def test_every_prefix_has_an_end(value: object, ascii_only: bool, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    prefix = text[: data.draw(st.integers(0, len(text)))]
    state = _ANY.run(_ANY.start, prefix)
    ending = _ANY.ending(state, 10_000)
    assert len(ending) <= _ANY.shortest(state)
    json.loads((prefix + ending).decode())
    assert takes(_ANY, prefix + ending)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=8) | st.text('{}[]",:0123456789.-+eE truefalsn\\u', max_size=8).map(str.encode))
def test_takes_nothing_that_is_no_json(data: bytes) -> None:
    if takes(_ANY, data):
        json.loads(data.decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        '{"a":1,}',
        "01",
        "-",
        "1.",
        "+1",
        ".5",
        "1e",
        "'a'",
        '"\n"',
        '"\\x"',
        '"\\ud800"',
        "nul",
        "NaN",
        "{} {}",
    ],
)
def test_refuses(text: str) -> None:
    assert not takes(_ANY, text)


def test_only_utf8_in_strings() -> None:
    assert takes(_ANY, '"é€😀"')
    for wrong in (b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"):
        assert not takes(_ANY, b'"' + wrong + b'"')


def test_an_object_is_an_object() -> None:
    assert takes(grammar.any_object(), '{"a": [1]}')
    assert not takes(grammar.any_object(), "[1]")


@settings(max_examples=60, deadline=None)
@given(st.integers(-1200, 1200), st.integers(0, 1500))
def test_integers_between(low: int, width: int) -> None:
    automaton = Automaton(grammar.measure(integer_between(low, low + width)))
    for number in {low - 1, low, low + 1, 0, low + width // 2, low + width, low + width + 1, -low, 10 * low}:
        assert takes(automaton, str(number)) == (low <= number <= low + width)
    assert not takes(automaton, "007")


def test_wide_bounds_stay_small() -> None:
    schema = {"type": "integer", "minimum": -(10**18), "maximum": 123_456_789_012_345_678}
    automaton = Automaton(schema_grammar(schema))
    for number in (schema["minimum"], schema["maximum"], 0, -5):
        assert takes(automaton, str(number))
        state = automaton.run(automaton.start, str(number).encode())
        assert len(automaton._stacks[state]) < 50
    assert not takes(automaton, str(int(schema["maximum"]) + 1))
    assert not takes(automaton, str(int(schema["minimum"]) - 1))


PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b", 3]}, "maxItems": 2},
        "friend": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "friend"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"name": "Ann", "friend": None}, True),
        ({"name": "Ann", "age": 149, "tags": ["a", 3], "friend": {"name": "B", "friend": None}}, True),
        ({"name": "", "friend": None}, False),
        ({"name": "Annabel", "friend": None}, False),
        ({"name": "Ann"}, False),
        ({"name": "Ann", "age": 150, "friend": None}, False),
        ({"name": "Ann", "age": -1, "friend": None}, False),
        ({"name": "Ann", "tags": ["a", "a", "a"], "friend": None}, False),
        ({"name": "Ann", "tags": ["c"], "friend": None}, False),
        ({"name": "Ann", "friend": {"name": "B"}}, False),
        ({"name": "Ann", "friend": None, "more": 1}, False),
    ],
)
def test_schema(value: object, fits: bool) -> None:
    assert takes(schema_grammar(PERSON), json.dumps(value)) == fits


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({}, "[1]", "["),
        (True, "null", ""),
        ({"type": ["string", "null"]}, "null", "1"),
        ({"const": {"a": [1]}}, '{"a": [1]}', '{"a": [2]}'),
        ({"type": "string", "enum": ["x", 3]}, '"x"', "3"),
        ({"type": "number", "minimum": 0}, "0.5", "-0.5"),
        ({"minimum": -2.5, "exclusiveMaximum": 3}, "-2.49", "3.0"),
        ({"type": "number", "exclusiveMinimum": 0.1, "maximum": 0.25}, "0.250", "0.100000000000000005"),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, "true", "1"),
        ({"type": "string", "pattern": "^[a-c]+$", "minLength": 2, "maxLength": 3}, '"abc"', '"a"'),
        ({"type": "string", "format": "email"}, '"a.b@example.org"', '"a.b"'),
        ({"pattern": '"'}, r'"a\""', '"a"'),
        ({"type": ["string", "null"], "format": "uuid"}, "null", '"x"'),
        ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, "[true, false]", "[true]"),
        ({"type": "array", "maxItems": 0}, "[]", "[1]"),
        ({"prefixItems": [{"type": "null"}, {"type": "integer"}]}, '[null, 2, "x"]', "[2]"),
        ({"prefixItems": [{"type": "null"}, True], "items": False, "minItems": 1}, "[null]", "[null, 1, 2]"),
        ({"prefixItems": [{"type": "null"}] * 2, "minItems": 2, "maxItems": 2}, "[null, null]", "[null]"),
        ({"prefixItems": [True], "items": {"type": "null"}, "minItems": 3}, "[1, null, null]", "[1, null]"),
        ({"prefixItems": [True, True], "maxItems": 1}, "[]", "[1, 2]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": 1, "b": 2}', '{"a": "x"}'),
        ({"type": "object", "additionalProperties": False}, "{}", '{"a": 1}'),
        ({"type": "object", "required": ["k"]}, '{"k": [1]}', "{}"),
        ({"$ref": "#/$defs/T", "$defs": {"T": {"type": "integer"}}}, "7", '"7"'),
        ({"allOf": [{"type": "null"}]}, "null", "0"),
        ({"properties": {'é"': {"type": "null"}}, "required": ['é"']}, '{"é\\"": null}', "{}"),
    ],
)
def test_keywords(schema: object, good: str, bad: str) -> None:
    assert takes(schema_grammar(schema), good)
    assert not takes(schema_grammar(schema), bad)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "string", "pattern": "(?=a)"}, "`pattern`"),
        ({"type": "string", "pattern": 3}, "`pattern`"),
        ({"type": "string", "format": "idn-email"}, "`format`"),
        ({"type": "string", "format": "date", "pattern": "1"}, "`format`"),
        ({"type": "string", "pattern": "^a{5}$", "maxLength": 4}, "no text"),
        ({"type": "string", "pattern": "^a", "maxLength": 10**6}, "too long"),
        ({"type": "string", "pattern": "^a", "maxLength": 20_000}, "memory"),
        ({"oneOf": []}, "`oneOf`"),
        ({"type": "array", "prefixItems": []}, "`prefixItems`"),
        ({"type": "array", "prefixItems": [True], "items": False, "minItems": 2}, "no text"),
        ({"oneOf": [{"type": "string"}], "anyOf": [{"type": "string"}]}, "`oneOf`"),
        ({"type": "number", "multipleOf": 2}, "`multipleOf`"),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 1}, "bounds"),
        ({"type": "number", "minimum": 1e-300}, "`minimum`"),
        ({"type": "number", "minimum": 1e300}, "`minimum`"),
        ({"type": "object", "patternProperties": {}}, "`patternProperties`"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "schema.a"),
        ({"anyOf": [], "type": "string"}, "anyOf"),
        ({"enum": []}, "`enum`"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "bounds"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "`minLength`"),
        ({"type": "string", "minLength": 10**9}, "`minLength`"),
        ({"type": "str"}, "`type`"),
        ({"type": {}}, "`type`"),
        ({"type": "integer", "minimum": True}, "`minimum`"),
        ({"$ref": "http://example.org"}, "$ref"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#"}, "no text"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no text"),
        (False, "false"),
        ("x", "object"),
        (None, "object"),
    ],
)
def test_what_is_not_supported_is_named(schema: object, named: str) -> None:
    with pytest.raises(SchemaError, match=named.replace("$", r"\$")) as caught:
        schema_grammar(schema)
    assert "\n" not in str(caught.value)


def test_schemas_are_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(SchemaError, match="deep"):
        schema_grammar(deep)
    with pytest.raises(SchemaError, match="parts"):
        schema_grammar({"enum": list(range(20_000))})
    many: dict[str, Any] = {"type": "null"}
    for level in range(9):  # 7^9 readings of [[[[[[[[[
        many = {"anyOf": [{"type": "array", "items": many, "maxItems": 10 * level + i + 1} for i in range(7)]}
        if len(json.dumps(many)) > 100_000:
            break
    with pytest.raises((SchemaError, GrammarError)):
        automaton = Automaton(schema_grammar(many))
        automaton.run(automaton.start, b"[" * 9)


def test_nesting_has_an_end() -> None:
    """Behind so many brackets only the shortest ends are open, and what follows is still a value."""
    automaton = Automaton(grammar.any_value())
    state, depth = automaton.start, 0
    while (deeper := automaton.step(state, ord("["))) != DEAD:
        state, depth = deeper, depth + 1
    assert 50 < depth < 150
    assert automaton.step(state, ord("]")) != DEAD and automaton.step(state, ord("{")) == DEAD
    json.loads("[" * depth + automaton.ending(state, 10_000).decode())
    # A schema that nests, without holding itself, is not cut short.
    chain = {"type": "object", "properties": {"n": {"$ref": "#/$defs/0"}}, "required": ["n"], "$defs": {}}
    for level in range(20):
        part = {"type": "array", "items": {"$ref": f"#/$defs/{level + 1}"}, "minItems": 1}
        chain["$defs"][str(level)] = part if level < 19 else {"type": "null"}
    assert takes(schema_grammar(chain), '{"n":' + "[" * 19 + "null" + "]" * 19 + "}")


def test_states_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbe_edge.grammar.automaton._MAX_STATES", 500)
    automaton = Automaton(grammar.measure(grammar.string(0, 1_000_000)))
    state, made = automaton.start, 0
    text = b'"' + b"a" * 2000
    for byte in text:
        state = automaton.step(state, byte)
        if automaton.full:
            automaton, state = automaton.another(state)
            made += 1
            assert not automaton.full
    assert made > 1 and automaton.accepts(automaton.step(state, ord('"')))


def test_many_properties_are_measured_quickly() -> None:
    """Work that grows with the square of the schema would be seen as a hang here."""
    root = schema_grammar(
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(4500)}, "required": ["p9"]}
    )
    assert root.shortest == len('{"p9":null}')
