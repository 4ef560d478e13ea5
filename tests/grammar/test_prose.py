"""Values framed behind free text, and how much white space there may be in a value."""

from __future__ import annotations

import json

import pytest
from grammar_tools import byte_vocabulary

pytest.importorskip("llguidance")

from rbe_edge.grammar.constraint import CompiledGrammar
from rbe_edge.grammar.grammar import any_object, framed_in_prose

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def takes(found: CompiledGrammar, text: str) -> bool:
    """Whether the whole text may be an answer."""
    data, matcher = list(text.encode()), found.matchers()[1]
    return matcher.validate_tokens(data) == len(data) and matcher.consume_tokens(data) and matcher.is_accepting()


def test_free_text_and_framed_values() -> None:
    found = CompiledGrammar(byte_vocabulary(), framed_in_prose([("\n", SCHEMA, "</x>")], "<x/call>"))
    call = '<x/call>\n{"a":1}</x>'
    for text in ("", "Hello.", "a < b, <x/cal and {[[", call, f"Well:\n{call}", f"{call}\n{call}", f"{call}{call}!"):
        assert takes(found, text), text
    for text in ("<x/call>", "<x/call> no", '<x/call>\n{"b":1}</x>', f"{call} <x/call>", f"so <x/call>{call}"):
        assert not takes(found, text), text


def test_free_text_is_not_cut_for_its_brackets() -> None:
    """Deep brackets and long numbers are refused in JSON alone."""
    import numpy as np

    from rbe_edge.grammar.constraint import Constraint
    from rbe_edge.runtime.options import SamplingOptions
    from rbe_edge.runtime.sampler import Sampler

    vocabulary = byte_vocabulary()
    constraint = Constraint(CompiledGrammar(vocabulary, framed_in_prose([("", SCHEMA, "</c>")], "<c>")))
    text = b"[" * 150 + b"3" * 150
    with Sampler(vocabulary.size, SamplingOptions()) as sampler:
        for byte in text:
            logits = np.zeros(vocabulary.size, dtype=np.float32)
            logits[vocabulary.of_text[bytes([byte])]] = 5.0
            token = constraint.draw(logits, sampler, 5000)
            assert token is not None and vocabulary.texts[token] == bytes([byte])
            constraint.accept(token)


def test_no_run_of_white_space() -> None:
    found = CompiledGrammar(byte_vocabulary(), any_object())
    value = {"a": [1, {"b": None}], "c": "two  blanks"}
    assert takes(found, json.dumps(value)) and takes(found, json.dumps(value, separators=(",", ":")))
    for text in (json.dumps(value, indent=1), '{"a":  1}', '{\n"a": 1}', '{"a":\t1}'):
        assert not takes(found, text), text
