"""Which tokens fit next, against trying each of them; and answers that end in time."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from rbe_edge.grammar import grammar
from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.constraint import Constraint, Masks, TokenBytes
from rbe_edge.grammar.json_schema import schema_grammar
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.runtime.sampler import Sampler

WORDS = [bytes([byte]) for byte in range(256)] + [
    b"ab", b'"a', b'a"', b'":', b'{"', b'"}', b"null", b'", "', b"tru", b"aaaaaaaa", b"a" * 16, b"a" * 17, b"a" * 30,
    b'aaaaaaaaaaaaaaaaaaaa"', b"\xc3\xa9\xc3", b"\xa9", b"12", b"[[[[", b"  ", b"", b"",
]  # fmt: skip
END = len(WORDS) - 1


class Vocabulary:
    """In the place of a model."""

    tokenizer_size = vocabulary = len(WORDS)

    @property
    def info(self) -> Any:
        return self

    def token_bytes(self, token: int) -> bytes:
        return WORDS[token]

    def ends_text(self, token: int) -> bool:
        return token == END


ROOTS = {
    "object": grammar.any_object(),
    "counted": schema_grammar({"type": "string", "minLength": 45, "maxLength": 70}),
    "items": schema_grammar({"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 30}),
    "number": schema_grammar({"type": "integer", "maximum": 300}),
}


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_of_single_tokens(name: str, seed: int) -> None:
    tokens = TokenBytes(Vocabulary())  # type: ignore[arg-type]
    constraint, plain = Constraint(tokens, ROOTS[name]), Automaton(ROOTS[name])
    state, choose = plain.start, random.Random(seed)
    for _ in range(60):
        mask = constraint.mask()
        for token, text in enumerate(WORDS):
            if token == END:
                assert mask[token] == plain.accepts(state)
            else:
                assert mask[token] == (bool(text) and plain.run(state, text) != DEAD), text
        likely = [token for token in np.flatnonzero(mask) if token != END]
        if not likely:
            assert constraint.ended
            break
        long = [token for token in likely if len(WORDS[token]) > 1]
        token = int(choose.choice(long if long and choose.random() < 0.5 else likely))
        constraint.accept(token)
        state = plain.run(state, WORDS[token])


def test_answers_share_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second walks where the first has been without looking at a token, until they part; one that has seen too many
    states goes on alone."""
    walked: list[int] = []
    walk = Masks._walk
    monkeypatch.setattr(
        Masks, "_walk", lambda self, alive, state, mask: (walked.append(state), walk(self, alive, state, mask))
    )
    root = grammar.any_object()
    known = Constraint(TokenBytes(Vocabulary()), root)  # type: ignore[arg-type]
    first, second = known.another(), known.another()
    text = b'{"ab": [12, "aaaa", null]'

    def follow(constraint: Constraint) -> list[bytes]:
        masks = []
        for byte in text:
            masks.append(constraint.mask().tobytes())
            constraint.accept(byte)
        return masks

    masks = follow(first)
    walks = len(walked)
    assert follow(second) == masks and len(walked) == walks > 0
    monkeypatch.setattr("rbe_edge.grammar.automaton._MAX_STATES", 12)
    third = known.another()
    assert known.full and follow(third) == masks and len(walked) > walks
    assert follow(Constraint(TokenBytes(Vocabulary()), root)) == masks  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "limit"),
    # The shortest counted text is of 45 blanks, two to a token.
    [
        *((name, limit) for name in ("object", "number") for limit in (2, 3, 7, 12, 60)),
        ("counted", 30),
        ("counted", 60),
    ],
)
def test_answers_end_in_time(name: str, limit: int) -> None:
    """Random logits: the text is complete whenever the shortest one fits into the tokens that there are."""
    tokens = TokenBytes(Vocabulary())  # type: ignore[arg-type]
    random_logits = np.random.default_rng(limit)
    for seed in range(8):
        constraint, said = Constraint(tokens, ROOTS[name]), b""
        with Sampler(len(WORDS), SamplingOptions(temperature=1.0, seed=seed)) as sampler:
            for remaining in range(limit, 0, -1):
                logits = random_logits.normal(0, 2, len(WORDS)).astype(np.float32)
                token = constraint.draw(logits, sampler, remaining)
                if token == END:
                    break
                assert token is not None
                said += WORDS[token]
                constraint.accept(token)
                if constraint.ended:
                    break
        json.loads(said.decode())


def test_a_vocabulary_without_the_bytes() -> None:
    class Digits(Vocabulary):
        def token_bytes(self, token: int) -> bytes:
            return WORDS[token] if WORDS[token].isdigit() else b""

    tokens = TokenBytes(Digits())  # type: ignore[arg-type]
    with Sampler(len(WORDS), SamplingOptions()) as sampler:
        logits = np.zeros(len(WORDS), dtype=np.float32)
        assert Constraint(tokens, grammar.any_object()).draw(logits, sampler, 5) is None
