"""Whatever a schema lets through is a value of the schema, as the package jsonschema judges it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from grammar_tools import Taker, some_text
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.grammar import GrammarError
from rbe_edge.grammar.schema_error import SchemaError

jsonschema = pytest.importorskip("jsonschema")

COUNT = st.integers(0, 3) | st.integers(0, 3).map(float)
BOUND = st.integers(-20, 20) | st.floats(-20, 20).map(lambda number: round(number, 2)) | st.sampled_from([1e-7, 10**17])


def made(type_: str, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(type_)}, optional=optional)


BOUNDS = {"minimum": BOUND, "maximum": BOUND, "exclusiveMinimum": BOUND, "exclusiveMaximum": BOUND}
NAMES = st.sampled_from(["a", "b", 'q"', "é"])
LEAVES = st.one_of(
    made("integer", **BOUNDS),
    made("number", **BOUNDS),
    made("string", minLength=COUNT, maxLength=COUNT),
    made("string", pattern=st.sampled_from(["a", "^[a-c]{2}", "\\d$", "^x*y?$", '"|é']), maxLength=st.integers(2, 9)),
    made("string", format=st.sampled_from(sorted(FORMATS))),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": [1, "a", [None]]}, {"const": {"k": 1.5}}, True]),
    st.just({"$ref": "#/$defs/tree"}),
    st.just({"type": ["integer", "null"], "multipleOf": 3, "not": {"type": "null"}}),
)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(NAMES, inner, max_size=3)
    required = st.lists(NAMES, max_size=2, unique=True)
    return st.one_of(
        made("array", items=inner, minItems=COUNT, maxItems=COUNT),
        made("array", items=inner, contains=inner),
        made(
            "array",
            prefixItems=st.lists(inner, min_size=1, max_size=3),
            minItems=COUNT,
            maxItems=COUNT,
            items=inner | st.just(False),
        ),
        made("object", properties=properties, required=required),
        made("object", properties=properties, dependentRequired=st.dictionaries(NAMES, required, max_size=2)),
        made("object", additionalProperties=inner, propertyNames=st.just({"pattern": "^[a-c]{1,3}$"})),
        made("object", patternProperties=st.dictionaries(st.sampled_from(["^x", "^y.z"]), inner, max_size=2)),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"properties": properties, "anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$ref": st.just("#/$defs/tree"), "properties": properties}),
    )


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=6)
TREE = {
    "type": "object",
    "properties": {"left": {"oneOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
    "required": ["left"],
    "additionalProperties": False,
}


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, st.integers(0, 2**32))
def test_what_is_taken_is_valid(schema: Any, seed: int) -> None:
    if isinstance(schema, dict):
        schema = {**schema, "$defs": {"tree": TREE}}
    try:
        taker = Taker(schema)
    except (SchemaError, GrammarError) as error:  # bounds that nothing fits, references in a circle
        assert "\n" not in str(error)
        return
    judge = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    choose = random.Random(seed)
    for steps in (0, 8, 40):
        text = some_text(taker.compiled, choose, steps)
        judge.validate(json.loads(text))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({}, "[1]", "["),
        (True, "null", ""),
        ({"type": ["string", "null"]}, "null", "1"),
        ({"const": {"a": [1]}}, '{"a": [1]}', '{"a": [2]}'),
        ({"type": "string", "enum": ["x", 3]}, '"x"', "3"),
        ({"enum": ["x", 3, None, [1.5], {"k": True}]}, '{"k":true}', "4"),
        ({"type": "number", "minimum": 0}, "0.5", "-0.5"),
        ({"minimum": -2.5, "exclusiveMaximum": 3}, "-2.49", "3.0"),
        ({"type": "number", "exclusiveMinimum": 0.1, "maximum": 0.25}, "0.25", "0.100000000000000005"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "0.5", "0"),
        ({"type": "integer", "minimum": 0.5, "maximum": 3.5}, "1", "0"),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "-999999999999999872", "9223372036854775808"),
        ({"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 9}, str(2**53 + 2), str(2**53)),
        ({"type": "integer", "minimum": -(10**400)}, "5", "0.5"),
        ({"type": "number", "maximum": 1e300}, "5.5", '"5"'),
        ({"type": "integer", "multipleOf": 5.0}, "-15", "7"),
        ({"type": "number", "multipleOf": 0.01}, "2.25", "2.255"),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, "true", "1"),
        ({"type": "string", "pattern": "^[a-c]+$", "minLength": 2.0, "maxLength": 3.0}, '"abc"', '"a"'),
        ({"pattern": '"'}, r'"a\""', '"a"'),
        ({"type": ["string", "null"], "format": "uuid"}, "null", '"x"'),
        ({"type": "array", "minItems": 2, "items": {"type": "boolean"}}, "[true, false]", "[true]"),
        ({"type": "array", "maxItems": 0}, "[]", "[1]"),
        ({"prefixItems": [{"type": "null"}, {"type": "integer"}]}, '[null, 2, "x"]', '["x", 2]'),
        ({"prefixItems": [{"type": "null"}, True], "items": False, "minItems": 1}, "[null]", "[null, 1, 2]"),
        ({"items": [{"type": "null"}], "additionalItems": False}, "[null]", "[null, 1]"),
        ({"type": "array", "contains": {"const": 1}, "minContains": 2}, "[1, 1, 5]", "[1, 5]"),
        ({"type": "array", "uniqueItems": False, "maxItems": 2147483647}, "[1, 1]", "{}"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": 1, "b": 2}', '{"a": "x"}'),
        ({"type": "object", "additionalProperties": False}, "{}", '{"a": 1}'),
        ({"type": "object", "required": ["k"]}, '{"k": [1]}', "{}"),
        ({"properties": {"a": {}}, "required": ["b"]}, '{"a": 1, "b": 2}', '{"a": 1}'),
        ({"properties": {"a": {}}}, '{"a": 1}', '{"b": 1}'),
        ({"properties": {"a": {}}, "additionalProperties": True}, '{"a": 1, "b": 2}', '{"b": 1'),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, '{"b": null}', '{"b": 1}'),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {"const": 1}}}]}, '{"a":2,"b":1}', '{"a":2,"b":2}'),
        ({"properties": {"k": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"k":1,"b":2}', '{"k":1}'),
        ({"patternProperties": {"^x[[]": {"type": "null"}}}, '{"x[1": null}', '{"y": 1}'),
        ({"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}}, '{"b":null}', '{"c":null}'),
        ({"type": "object", "propertyNames": {"type": "string"}, "minProperties": 1}, '{"x": 1}', "{}"),
        ({"type": "object", "propertyNames": {"maxLength": 2}}, '{"xy": 1}', '{"xyz": 1}'),
        ({"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}, '{"a":1,"b":2}', '{"a":1}'),
        ({"properties": {"a": {}, "b": {}}, "dependencies": {"a": {"required": ["b"]}}}, '{"b":2}', '{"a":1}'),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}], "unevaluatedProperties": False}, '{"b":1}',
         '{"c":1}'),
        (
            {"properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            '{"b": 1}',
            '{"a": 1, "b": 1}',
        ),
        ({"not": {"type": ["null", "number"]}}, '"x"', "3"),
        ({"properties": {"a": {}, "b": {}}, "not": {"required": ["a"]}}, '{"b": 1}', '{"a": 1}'),
        ({"properties": {"a": {"not": {}}, "b": {}}}, '{"b": 1}', '{"a": 1}'),
        ({"allOf": [{"type": "null"}]}, "null", "0"),
        ({"properties": {'é"': {"type": "null"}}, "required": ['é"']}, '{"é\\"": null}', "{}"),
        ({"type": "string", "nullable": True, "x-note": 1, "discriminator": {}, "if": {}}, '"a"', "1"),
    ],
)  # fmt: skip
def test_keywords(schema: Any, good: str, bad: str) -> None:
    taker = Taker(schema)
    assert taker.takes(good) and not taker.takes(bad)


NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}},
    "required": ["next"],
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"$ref": "#/$defs/T", "$defs": {"T": {"type": "integer"}}}, "7", '"7"'),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "integer"}}}, "7", '"7"'),
        ({"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": {"type": "integer"}}}, "7", '"7"'),
        ({"$ref": "#/$defs/%C3%A9%25", "$defs": {"é%": {"type": "integer"}}}, "7", '"7"'),
        ({"properties": {"x": {"type": "null"}, "y": {"$ref": "#/properties/x"}}}, '{"y": null}', '{"y": 1}'),
        ({"properties": {"x": {"prefixItems": [{"type": "null"}]}, "y": {"$ref": "#/properties/x/prefixItems/0"}}},
         '{"y": null}', '{"y": 1}'),
        ({"items": {"$ref": "#/components/schemas/P"}, "components": {"schemas": {"P": {"pattern": "^[[]$"}}}},
         '["["]', '["]"]'),
        ({"$ref": "#here", "$defs": {"T": {"$anchor": "here", "type": "integer"}}}, "7", '"7"'),
        ({"$id": "http://x.example/root", "$ref": "item", "$defs": {"T": {"$id": "item", "type": "integer"}}}, "7",
         '"7"'),
        ({"$id": "http://x.example/r", "items": {"$ref": "http://x.example/r#/$defs/T"},
         "$defs": {"T": {"const": 1}}}, "[1]", "[2]"),
        ({"$id": "urn:x:root", "items": {"$ref": "#/$defs/T"}, "$defs": {"T": {"const": 1}}}, "[1]", "[2]"),
        ({"definitions": {"T": {"const": 1}}, "$ref": "#/definitions/T",
         "$schema": "http://json-schema.org/draft-07/schema#"},
         "1", "2"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": {"$ref": "#/definitions/T", "type": "null"},
          "definitions": {"T": {"const": 1}}}, "[1]", "[null]"),
        ({"$ref": "#/$defs/T", "maximum": 5, "$defs": {"T": {"type": "integer"}}}, "5", "6"),
        ({"$ref": "#/$defs/T", "description": "d", "$defs": {"T": True}}, "[]", "["),
        ({"$ref": "#/$defs/N", "$defs": {"N": NODE}}, '{"next": {"next": null}}', '{"next": {}}'),
        ({"type": "array", "items": {"$ref": "#"}}, "[[], [[]]]", "[1]"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/L"}], "$defs": {"L": {"type": "array", "items": {"$ref": "#"},
         "minItems": 1}}},
         "[[null]]", "[]"),
        ({"properties": {"never": {"$ref": "#/$defs/E"}, "a": {}}, "$defs":
          {"E": {"type": "object", "properties": {"e": {"$ref": "#/$defs/E"}}, "required": ["e"]}}}, '{"a": 1}',
           '{"never": {"e"'),
    ],
)  # fmt: skip
def test_references(schema: Any, good: str, bad: str) -> None:
    taker = Taker(schema)
    assert taker.takes(good) and not taker.takes(bad)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "string", "pattern": "(?=a)"}, "`pattern`"),
        ({"type": "string", "pattern": 3}, "`pattern`"),
        ({"type": "string", "format": 3}, "`format`"),
        ({"type": "string", "pattern": "^a{5}$", "maxLength": 4}, "empty"),
        ({"oneOf": []}, "`oneOf`"),
        ({"anyOf": [], "type": "string"}, "`anyOf`"),
        ({"allOf": {}}, "`allOf`"),
        ({"type": "array", "prefixItems": 1}, "`prefixItems`"),
        ({"type": "array", "prefixItems": [True], "items": False, "minItems": 2}, "no value"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "no value"),
        ({"properties": {"x\ny": {"type": 3}}}, "x\\ny"),
        ({"type": "number", "multipleOf": 0}, "`multipleOf`"),
        ({"type": "number", "multipleOf": 1000003}, "`multipleOf`"),
        ({"type": "number", "multipleOf": "x"}, "`multipleOf`"),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 1}, "bounds"),
        ({"type": "number", "minimum": 1e-300}, "`minimum`"),
        ({"type": "number", "minimum": 1e300}, "bounds"),
        ({"type": "integer", "minimum": 10**400}, "bounds"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "bounds"),
        ({"type": "integer", "minimum": True}, "`minimum`"),
        ({"type": "integer", "exclusiveMaximum": "3"}, "`exclusiveMaximum`"),
        ({"const": 2**53 + 1}, "64-bit"),
        ({"enum": [10**400]}, "64-bit"),
        ({"const": 1e300}, "64-bit"),
        ({"type": "object", "properties": {"a": {"not": {"minimum": 3}}}}, "schema.a: `not`"),
        ({"properties": {"a": {"if": {}, "then": False}}}, "schema.a: `if`"),
        ({"type": "array", "uniqueItems": True}, "`uniqueItems`"),
        ({"type": "array", "contains": {}, "maxContains": 2}, "`contains`"),
        ({"propertyNames": {"pattern": "^a"}, "properties": {"b": {}}}, "`propertyNames`"),
        ({"propertyNames": {"pattern": 3}}, "`propertyNames`"),
        ({"propertyNames": {"minLength": "x"}}, "`minLength`"),
        ({"unevaluatedProperties": False, "anyOf": [{"properties": {"a": {}}}]}, "`unevaluatedProperties`"),
        ({"unevaluatedItems": False, "anyOf": [{"prefixItems": [{}]}]}, "`unevaluatedItems`"),
        ({"dependentRequired": {"a": 3}}, "schema"),
        ({"dependentRequired": [1]}, "`dependentRequired`"),
        ({"enum": []}, "`enum`"),
        ({"enum": 3}, "`enum`"),
        ({"required": [[]]}, "`required`"),
        ({"properties": 3}, "`properties`"),
        ({"items": {"allOf": [{"$ref": "#"}, {"type": "object"}]}, "properties": 3, "required": 3}, "`required`"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "`minLength`"),
        ({"type": "string", "minLength": 2.5}, "`minLength`"),
        ({"type": "string", "minLength": -1}, "`minLength`"),
        ({"type": "string", "minLength": 10**9}, "`minLength`"),
        ({"type": "str"}, "`type`"),
        ({"type": {}, "format": "date", "minimum": 3}, "`type`"),
        ({"type": []}, "`type`"),
        ({"$ref": "http://example.org"}, "not fetched"),
        ({"$ref": "file:///etc/passwd"}, "not fetched"),
        ({"$ref": "http://["}, "not fetched"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#none"}, "nowhere"),
        ({"$ref": 3}, "ref"),
        ({"$ref": "#"}, "no value"),
        ({"$dynamicRef": "#a"}, "dynamicRef"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no value"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "no value"),
        ({"const": "\ud800"}, "hex escape"),
        (False, "no value"),
        ("x", "object"),
        (None, "object"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(schema: Any, named: str) -> None:
    with pytest.raises((SchemaError, GrammarError)) as caught:
        Taker(schema)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def nested(levels: int) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"type": "array", "items": deep}
    return deep


HARD = "^(a|b)*a(a|b){%d}$"


@pytest.mark.parametrize(
    "schema",
    [
        nested(150),
        {"enum": list(range(20_000))},
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(100_000)}},
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(1000)}},
        {"properties": {f"o{j}": {"properties": {f"p{i}": {} for i in range(300)}} for j in range(16)}},
        {"anyOf": [{"const": i} for i in range(4000)]},
        {"items": {"anyOf": [{"multipleOf": 9973 - i} for i in range(40)]}},
        {"patternProperties": {f"^a{i}_": {} for i in range(100)}},
        {"allOf": [{"pattern": HARD % i} for i in range(10, 30)]},
        {"allOf": [{"$ref": f"#/$defs/{i}"} for i in range(20)],
         "$defs": {str(i): {"pattern": HARD % i} for i in range(20)}},
        {"properties": {str(i): {"$ref": f"#/$defs/{i}"} for i in range(20)},
         "$defs": {str(i): {"pattern": HARD % i} for i in range(20)},
         "allOf": [{"properties": {"x": {"allOf": [{"$ref": f"#/$defs/{i}"} for i in range(20)]}}}, {}]},
        {"$ref": "#/$defs/0", "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(5000)} | {"5000": {}}},
        {"$ref": "#/$defs/0", "$defs": {str(i): {"type": "array",
         "items": {"$ref": f"#/$defs/{i + 1}"}} for i in range(300)}},
        {"allOf": [{"anyOf": [{"properties": {f"p{i}_{j}": {}}} for j in range(10)]} for i in range(10)]},
        {"properties": {str(i): {} for i in range(50)}, "dependentRequired": {str(i): ["0"] for i in range(40)}},
    ],
)  # fmt: skip
def test_schemas_are_bounded(schema: Any) -> None:
    """No time is measured; some of these would take minutes, or overflow a stack."""
    with pytest.raises((SchemaError, GrammarError)) as caught:
        Taker(schema)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_large_schemas_are_taken() -> None:
    many = {f"p{i}": {"type": "string", "format": "date"} for i in range(1500)}
    taker = Taker({"type": "object", "properties": many, "required": list(many)})
    assert taker.takes(json.dumps(dict.fromkeys(many, "2024-02-29")))
    values = [f"value number {i}" for i in range(4000)]
    assert Taker({"enum": values}).takes(json.dumps(values[3999]))
    assert Taker(nested(90)).takes("[" * 80 + "]" * 80)


def test_options_of_the_schema_change_nothing() -> None:
    taker = Taker({"type": "null", "x-guidance": {"lenient": True, "whitespace_pattern": "x"}})
    assert taker.takes("null") and not taker.takes("xnull")
    assert Taker({"type": "array"}).takes("[ ]") and not Taker({"type": "array"}).takes("[  ]")
