"""What an answer must fit, as a text that llguidance compiles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rbe_edge.grammar.json_schema import reduced_schema

#: Blanks are bounded, so that a model cannot go on with them for ever. `oneOf` is read as `anyOf`.
_OPTIONS = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,16}", "coerce_one_of": True}


class GrammarError(Exception):
    """A grammar that no text fits, or that takes too much time or memory to follow. The message is one line."""


@dataclass(frozen=True)
class Grammar:
    """text: grammars of llguidance, as JSON. The model chooses among all tokens that fit (`no_forcing`)."""

    text: str


def any_object() -> Grammar:
    """Any JSON object."""
    return of_schema({"type": "object"})


def of_schema(schema: Any) -> Grammar:
    """A value that a JSON Schema allows. Raises SchemaError."""
    return framed([("", schema, "")])


def framed(options: Iterable[tuple[str, Any, str]]) -> Grammar:
    """One of several texts: a beginning, a value of a schema, and an end. Raises SchemaError."""
    rules, grammars = [], []
    for number, (before, schema, behind) in enumerate(options):
        parts = [json.dumps(before), f"@s{number}", json.dumps(behind)]
        rules.append(" ".join(part for part in parts if part != '""'))
        grammars.append({"name": f"s{number}", "json_schema": {**reduced_schema(schema), "x-guidance": _OPTIONS}})
    start = '%llguidance {"no_forcing": true}\nstart: ' + " | ".join(rules)
    return Grammar(json.dumps({"grammars": [{"lark_grammar": start}, *grammars]}))
