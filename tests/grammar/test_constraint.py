"""Which tokens fit next, against trying each of them; and answers that end in time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grammar_tools import BYTES, Taker, Words, byte_vocabulary, compiled, ended, some_text
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.errors import MissingExtra
from rbe_edge.grammar.constraint import MAX_DEPTH, MAX_DIGITS, CompiledGrammar, Constraint
from rbe_edge.grammar.grammar import Grammar, GrammarError, any_object, framed, of_schema
from rbe_edge.grammar.schema_error import SchemaError
from rbe_edge.grammar.vocabulary import Vocabulary
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.runtime.sampler import Sampler

WORDS = [
    *BYTES,
    b"ab", b'"a', b'a"', b'":', b'{"', b'"}', b"null", b'", "', b"tru", b"aaaaaaaa", b"a" * 16, b"a" * 17, b"a" * 30,
    b'aaaaaaaaaaaaaaaaaaaa"', b"\xc3\xa9\xc3", b"\xa9", b"12", b"[[[[", b"  ", b"", b"a", b"<end>", b"",
]  # fmt: skip
ENDS = {len(WORDS) - 2, len(WORDS) - 1}

SCHEMAS: dict[str, Any] = {
    "object": {"type": "object"},
    "counted": {"type": "string", "minLength": 45, "maxLength": 70},
    "items": {"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 3},
    "number": {"type": "integer", "maximum": 300},
    "loop": {"type": "array", "items": {"type": "string", "pattern": "^(ab)*c$"}, "minItems": 2},
    "multiple": {"type": "object", "properties": {"y": {"type": "integer", "multipleOf": 7, "minimum": 1}},
     "required": ["y"]},
    "small": {"type": "array", "prefixItems": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1e-6}],
     "minItems": 1},
    "found": {"type": "string", "pattern": "say hello#"},
    "way out": {
        "$ref": "#/$defs/n",
        "$defs": {
            "n": {"type": "object", "properties": {"a": {"$ref": "#/$defs/m"}}, "required": ["a"]},
            "m": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "object", "properties": {"z": {"const": 1}},
             "required": ["z"]}]},
        },
    },
}  # fmt: skip


def grammar_of(name: str) -> CompiledGrammar:
    return compiled(of_schema(SCHEMAS[name]), WORDS, 2)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_single_tokens(name: str, seed: int) -> None:
    """Tokens of equal bytes fit alike; those without bytes, and the text of an end, never do."""
    found = grammar_of(name)
    constraint, plain = Constraint(found), found.matchers()[1]
    choose = random.Random(seed)
    for _ in range(40):
        mask = constraint.mask()
        for token, text in enumerate(WORDS):
            if token in ENDS:
                assert mask[token] == plain.is_accepting()
            else:
                assert mask[token] == (bool(text) and plain.validate_tokens(list(text)) == len(text)), text
        likely = [token for token in np.flatnonzero(mask) if token not in ENDS]
        if not likely:
            break
        long = [token for token in likely if len(WORDS[token]) > 1]
        token = int(choose.choice(long if long and choose.random() < 0.5 else likely))
        constraint.accept(token)
        plain.consume_tokens(list(WORDS[token]))
        if constraint.ended:
            break


def drawn(found: CompiledGrammar, limit: int, seed: int) -> tuple[bytes, bool]:
    """An answer of at most so many tokens by random logits, and whether it was shortened."""
    texts = found.vocabulary.texts
    random_logits = np.random.default_rng([limit, seed])
    constraint, said = Constraint(found), b""
    with Sampler(len(texts), SamplingOptions(temperature=1.0, seed=seed)) as sampler:
        for remaining in range(limit, 0, -1):
            logits = random_logits.normal(0, 2, len(texts)).astype(np.float32)
            token = constraint.draw(logits, sampler, remaining)
            if token is None or token in found.vocabulary.ends:
                break
            said += texts[token]
            constraint.accept(token)
            if constraint.ended:
                break
    return said, constraint.shortened


@pytest.mark.parametrize(
    ("name", "limit"),
    # The shortest counted text is of 45 blanks, two to a token.
    [
        *((name, limit) for name in ("object", "number") for limit in (2, 3, 7, 12, 60)),
        *((name, limit) for name in ("items", "loop", "multiple") for limit in (12, 14, 25, 60)),
        *(("small", limit) for limit in (14, 20, 60)),
        *(("way out", limit) for limit in (14, 15, 31, 60)),
        ("found", 14),
        ("found", 40),
        ("counted", 30),
        ("counted", 60),
    ],
)
def test_answers_end_in_time(name: str, limit: int) -> None:
    """Random logits: the text is complete whenever a short one fits into the tokens that there are."""
    found, taker = grammar_of(name), Taker(SCHEMAS[name])
    for seed in range(6):
        said, _ = drawn(found, limit, seed)
        json.loads(said.decode())
        assert taker.takes(said)


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"type": "array", "items": {"type": "string"}, "minItems": 150}, 650),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 7, "minimum": 1}, "minItems": 30}, 300),
        ({"anyOf": [{"type": "null"}, {"type": "array", "items": {"const": "abc"}, "minItems": 50}]}, 250),
    ],
)
def test_long_ends(schema: Any, limit: int) -> None:
    """Of more bytes than are looked at at once, or that take many steps to find."""
    found = CompiledGrammar(byte_vocabulary(), of_schema(schema))
    json.loads(drawn(found, limit, 1)[0].decode())


def test_what_cannot_end_goes_the_shortest_way() -> None:
    said, shortened = drawn(grammar_of("counted"), 2, 0)
    assert said.startswith(b'"') and shortened


def test_an_answer_that_may_end_is_ended_rather_than_lengthened() -> None:
    """A number could always go on; with one token left it may only if it is complete then."""
    found = compiled(of_schema({"type": "number"}), WORDS, 2)
    for seed in range(20):
        json.loads(drawn(found, 3, seed)[0].decode())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_ANY = Taker({})


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([None, (",", ":"), (" ,", " :")]))
def test_takes_what_json_dumps_writes(value: object, separators: tuple[str, str] | None) -> None:
    assert _ANY.takes(json.dumps(value, ensure_ascii=False, separators=separators).replace("\x7f", "\\u007f"))


@settings(max_examples=150, deadline=None)
@given(VALUES, st.data())
def test_every_prefix_has_an_end(value: object, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f").encode()
    prefix = text[: data.draw(st.integers(0, len(text)))]
    json.loads(ended(_ANY.compiled, prefix).decode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=8) | st.text('{}[]",:0123456789.-+eE truefalsn\\u', max_size=8).map(str.encode))
def test_takes_nothing_that_is_no_json(data: bytes) -> None:
    if _ANY.takes(data):
        json.loads(data.decode())


def test_only_utf8_in_strings() -> None:
    assert _ANY.takes('"é€😀"')
    for wrong in (b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\\ud800"):
        assert not _ANY.takes(b'"' + wrong + b'"')


def test_nesting_and_numbers_have_an_end() -> None:
    """A model that wants nothing else than one byte: what it may say stays readable."""
    found = CompiledGrammar(byte_vocabulary(), of_schema({"type": ["array", "integer"]}))
    for wanted in b"[9":
        constraint, said = Constraint(found), b""
        with Sampler(257, SamplingOptions(temperature=0.0)) as sampler:
            for _ in range(400):
                logits = np.zeros(257, dtype=np.float32)
                logits[wanted] = 5
                token = constraint.draw(logits, sampler, None)
                if token is None or token == 256:
                    break
                said += bytes([token])
                constraint.accept(token)
        depth = max(said[:i].count(b"[") - said[:i].count(b"]") for i in range(len(said) + 1))
        assert depth <= MAX_DEPTH and max(map(len, said.replace(b"[", b" ").split()), default=0) <= MAX_DIGITS + 400 * (
            wanted == 91
        )
        json.loads(ended(found, said))


def test_a_vocabulary_without_the_bytes() -> None:
    found = compiled(any_object(), [word if word.isdigit() else b"" for word in WORDS], 2)
    with Sampler(len(WORDS), SamplingOptions()) as sampler:
        logits = np.zeros(len(WORDS), dtype=np.float32)
        assert Constraint(found).draw(logits, sampler, 5) is None


def test_logits_beyond_the_tokens_and_no_end() -> None:
    vocabulary = Vocabulary(Words(BYTES, ends=0, room=7))  # type: ignore[arg-type]
    found = CompiledGrammar(vocabulary, of_schema({"type": "integer"}))
    constraint = Constraint(found)
    constraint.accept(ord("7"))
    mask = constraint.mask()
    assert mask.shape == (263,) and not mask[256:].any() and mask[ord("1")]
    with Sampler(263, SamplingOptions(temperature=0.0)) as sampler:
        logits = np.zeros(263, dtype=np.float32)
        assert constraint.draw(logits, sampler, 0) is None  # it is complete and no token ends it


def test_answers_do_not_disturb_one_another() -> None:
    found = grammar_of("object")
    first, second = Constraint(found), Constraint(found)
    for byte in b'{"a": [1':
        first.accept(byte)
    assert second.mask()[ord("{")] and not second.mask()[ord("]")] and first.mask()[ord("]")]


def test_what_takes_too_much_ends_that_answer_alone() -> None:
    """Text by text there are more states than there may be."""
    found = compiled(of_schema({"type": "string", "pattern": "(a|b)*a(a|b){60}(a|b)*c(a|b){60}$"}), WORDS, 2)
    choose = random.Random(1)
    with pytest.raises(GrammarError) as caught:
        for _ in range(200):
            constraint = Constraint(found)
            constraint.accept(ord('"'))
            for _ in range(400):
                constraint.mask()
                constraint.accept(choose.choice(b"ab"))
    assert found.failed and "\n" not in str(caught.value)


def test_one_of_several_frames() -> None:
    tools = [("add", {"type": "integer"}), ("ad", {"type": "null"}), ("add_all", {"type": "array"})]
    grammar = framed(
        (f'<tool_call>\n{{"name": "{name}", "arguments": ', schema, "}\n</tool_call>") for name, schema in tools
    )
    matcher = CompiledGrammar(byte_vocabulary(), grammar).matchers()[1]
    for text, fits in (
        ('<tool_call>\n{"name": "add", "arguments": 12}\n</tool_call>', True),
        ('<tool_call>\n{"name": "ad", "arguments": null}\n</tool_call>', True),
        ('<tool_call>\n{"name": "add_all", "arguments": [ ]}\n</tool_call>', True),
        ('<tool_call>\n{"name": "ad", "arguments": 12}\n</tool_call>', False),
        ('<tool_call>\n{"name": "add", "arguments": 12}</tool_call>', False),
    ):
        data = list(text.encode())
        complete = matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()
        assert complete == fits, text
        matcher.reset()


def test_frames_are_bounded_together() -> None:
    large = {"enum": list(range(4000))}
    framed([("a", large, ""), ("b", large, "")])
    with pytest.raises(SchemaError, match="together"):
        framed([("a", large, ""), ("b", large, ""), ("c", large, "")])


def test_ends_are_the_same_in_every_process() -> None:
    program = (
        "import test_constraint as t\n"
        "for name in t.SCHEMAS:\n"
        "    for limit in (9, 20): print(t.drawn(t.grammar_of(name), limit, 3))\n"
    )
    outputs = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=Path(__file__).parent, capture_output=True, check=True
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_random_texts_end() -> None:
    for name, schema in SCHEMAS.items():
        taker = Taker(schema)
        for seed in range(5):
            assert taker.takes(some_text(taker.compiled, random.Random(seed), 30)), name


def test_without_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match=r"rbe-edge\[server\]") as caught:
        Vocabulary(Words(BYTES))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert isinstance(of_schema({}), Grammar)  # schemas are read without it
