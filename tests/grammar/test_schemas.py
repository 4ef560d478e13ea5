"""Whatever a schema's grammar takes is a value of the schema, as the package jsonschema judges it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.json_schema import SchemaError, schema_grammar

jsonschema = pytest.importorskip("jsonschema")

COUNT = st.integers(0, 3)
BOUND = st.integers(-20, 20) | st.floats(-20, 20).map(lambda number: round(number, 2)) | st.sampled_from([1e-7, 10**17])


def made(type_: str, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(type_)}, optional=optional)


BOUNDS = {"minimum": BOUND, "maximum": BOUND, "exclusiveMinimum": BOUND, "exclusiveMaximum": BOUND}
LEAVES = st.one_of(
    made("integer", **BOUNDS),
    made("number", **BOUNDS),
    made("string", minLength=COUNT, maxLength=COUNT),
    made("string", pattern=st.sampled_from(["a", "^[a-c]{2}", "\\d$", "^x*y?$", '"|é']), maxLength=st.integers(2, 9)),
    made("string", format=st.sampled_from(sorted(FORMATS))),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": [1, "a", [None]]}, {"const": {"k": 1.5}}, True]),
    st.just({"$ref": "#/$defs/tree"}),
)
NAMES = st.sampled_from(["a", "b", 'q"', "é"])
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        made("array", items=inner, minItems=COUNT, maxItems=COUNT),
        made(
            "array",
            prefixItems=st.lists(inner, min_size=1, max_size=3),
            minItems=COUNT,
            maxItems=COUNT,
            items=inner | st.just(False),
        ),
        made("object", properties=st.dictionaries(NAMES, inner, max_size=3), required=st.lists(NAMES, max_size=2)),
        made("object", additionalProperties=inner),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)
TREE = {
    "type": "object",
    "properties": {"left": {"oneOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
    "required": ["left"],
    "additionalProperties": False,
}


def some_text(automaton: Automaton, choose: random.Random, steps: int) -> str:
    """Bytes drawn from those that fit, then the shortest end."""
    state, text = automaton.start, bytearray()
    for _ in range(steps):
        if automaton.accepts(state) and choose.random() < 0.3:
            break
        fitting = [byte for byte in range(256) if automaton.step(state, byte) != DEAD]
        if not fitting:
            break
        marks = [byte for byte in fitting if byte in b'",:]}']
        text.append(choose.choice(marks if marks and choose.random() < 0.4 else fitting))
        state = automaton.step(state, text[-1])
    return (bytes(text) + automaton.ending(state, 100_000)).decode()


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, st.integers(0, 2**32))
def test_what_is_taken_is_valid(schema: Any, seed: int) -> None:
    if isinstance(schema, dict):
        schema = {**schema, "$defs": {"tree": TREE}}
    try:
        automaton = Automaton(schema_grammar(schema))
    except SchemaError:  # bounds that nothing fits
        return
    judge = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    choose = random.Random(seed)
    for steps in (0, 8, 40, 150):
        text = some_text(automaton, choose, steps)
        judge.validate(json.loads(text))


def test_it_is_not_refused_too_often() -> None:
    """Of plain schemas of each kind, none is."""
    for format_ in FORMATS:
        schema_grammar({"type": "string", "format": format_, "maxLength": 80})
    for low, high in ((0, 1), (0.5, 0.75), (-3.25, 8), (-2, -1.5)):
        for keys in (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")):
            schema_grammar({"type": "number", keys[0]: low, keys[1]: high})
