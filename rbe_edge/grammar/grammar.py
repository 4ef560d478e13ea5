"""What an answer must fit, as a text that llguidance compiles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rbe_edge.grammar.json_schema import reduced_schema
from rbe_edge.grammar.schema_error import require

#: At most one blank between the parts of a value: a run of them would be paid for and says nothing. `oneOf` is read as
#: `anyOf`.
_OPTIONS = {"whitespace_pattern": r"\x20", "coerce_one_of": True}
_MOST_EXAMPLES = 20
_MOST_EFFORT = 2  # of all schemas together


class GrammarError(Exception):
    """A grammar that no text fits, or that takes too much time or memory to follow. The message is one line."""


@dataclass(frozen=True)
class Grammar:
    """text: grammars of llguidance, as JSON. The model chooses among all tokens that fit (`no_forcing`).
    examples: what its patterns look for, as it stands in a JSON string. has_prose: it has text that is no JSON, whose
    brackets and digits mean nothing."""

    text: str
    examples: tuple[bytes, ...]
    has_prose: bool = False


def any_object() -> Grammar:
    """Any JSON object."""
    return of_schema({"type": "object"})


def of_schema(schema: Any) -> Grammar:
    """A value that a JSON Schema allows. Raises SchemaError."""
    return framed([("", schema, "")])


def framed(options: Iterable[tuple[str, Any, str]]) -> Grammar:
    """One of several texts: a beginning, a value of a schema, and an end. Raises SchemaError."""
    return _grammar(options, "start: framed\n")


def framed_in_prose(options: Iterable[tuple[str, Any, str]], opening: str) -> Grammar:
    """Any text in which, wherever `opening` stands, one of such framed values follows; the options leave the opening
    out. Raises SchemaError."""
    start = f"start: called* prose\ncalled: opened framed\nopened[suffix={json.dumps(opening)}]: /(?s:.*)/\n"
    return _grammar(options, f"{start}prose: /(?s:.*)/\n", has_prose=True)


def _grammar(options: Iterable[tuple[str, Any, str]], start: str, has_prose: bool = False) -> Grammar:
    rules, grammars = [], []
    examples: dict[bytes, None] = {}
    effort = 0.0
    for number, (before, schema, behind) in enumerate(options):
        parts = [json.dumps(before), f"@s{number}", json.dumps(behind)]
        reduced, found, more = reduced_schema(schema)
        effort += more
        require(effort <= _MOST_EFFORT, "the schemas are too large together")
        examples.update({json.dumps(one, ensure_ascii=False)[1:-1].encode(): None for one in found})
        rules.append(" ".join(part for part in parts if part != '""'))
        grammars.append({"name": f"s{number}", "json_schema": {**reduced, "x-guidance": _OPTIONS}})
    lark = '%llguidance {"no_forcing": true}\n' + start + "framed: " + " | ".join(rules)
    text = json.dumps({"grammars": [{"lark_grammar": lark}, *grammars]})
    return Grammar(text, tuple(examples)[:_MOST_EXAMPLES], has_prose)
