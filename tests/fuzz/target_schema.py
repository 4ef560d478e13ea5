"""JSON schemas of any content: they become a grammar or are refused, and what the grammar lets through is JSON."""

from __future__ import annotations

import json
import random

from grammar_tools import byte_vocabulary, drawn, ended_if_short

from rbe_edge.grammar.constraint import CompiledGrammar
from rbe_edge.grammar.grammar import GrammarError, of_schema
from rbe_edge.grammar.schema_error import SchemaError
from rbe_edge.server.fields import parse_json

MOST_BYTES = 8 << 10
IS_JSON = True

_STEPS = 60  # bytes that are drawn before an end is looked for


def seeds() -> dict[str, bytes]:
    return {}  # those of the corpus


def run(data: bytes) -> None:
    try:
        schema = parse_json(data.decode("utf-8", "replace"))
    except ValueError:
        return
    try:
        compiled = CompiledGrammar(byte_vocabulary(), of_schema(schema))
        text = ended_if_short(compiled, drawn(compiled, random.Random(len(data)), _STEPS))
    except (SchemaError, GrammarError) as error:
        assert "\n" not in str(error), "a message of one line"
        return
    if text is not None:
        json.loads(text.decode())
