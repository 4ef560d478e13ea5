"""What the tests of the grammar room share: vocabularies of a few tokens, and texts that a grammar lets through."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
from rbe_edge.grammar.ending import Ending
from rbe_edge.grammar.grammar import Grammar, of_schema
from rbe_edge.grammar.place import Place
from rbe_edge.grammar.vocabulary import Vocabulary

BYTES = [bytes([byte]) for byte in range(256)]


class Words:
    """In the place of a model: tokens by their texts, the last of which end a text."""

    def __init__(self, texts: Sequence[bytes], ends: int = 1, room: int = 0) -> None:
        """room: logits beyond the tokens."""
        self.texts, self._first_end = [*texts], len(texts) - ends
        self.tokenizer_size = len(texts)
        self.vocabulary = len(texts) + room

    @property
    def info(self) -> Any:
        return self

    def token_bytes(self, token: int) -> bytes:
        return self.texts[token]

    def ends_text(self, token: int) -> bool:
        return token >= self._first_end


@cache
def byte_vocabulary() -> Vocabulary:
    return Vocabulary(Words([*BYTES, b""]))  # type: ignore[arg-type]


class Taker:
    """Whether texts fit a schema."""

    def __init__(self, schema: Any) -> None:
        """Raises SchemaError or GrammarError."""
        self.compiled = CompiledGrammar(byte_vocabulary(), of_schema(schema))

    def takes(self, text: str | bytes) -> bool:
        matcher = self.compiled.matchers()[1]
        data = list(text.encode() if isinstance(text, str) else text)
        return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def some_text(compiled: CompiledGrammar, choose: random.Random, steps: int) -> str:
    """Bytes drawn from those that fit, and then an end."""
    return ended(compiled, drawn(compiled, choose, steps)).decode()


def drawn(compiled: CompiledGrammar, choose: random.Random, steps: int) -> bytes:
    """Bytes drawn from those that fit, at most so many."""
    constraint, text = Constraint(compiled), bytearray()
    for _ in range(steps):
        fitting = np.flatnonzero(constraint.mask()[:256])
        if constraint.ended or not len(fitting):
            break
        marks = [byte for byte in fitting if byte in b'",:]}']
        token = int(choose.choice(marks if marks and choose.random() < 0.4 else fitting))
        text.append(token)
        constraint.accept(token)
    return bytes(text)


def ended(compiled: CompiledGrammar, text: bytes) -> bytes:
    """A text that fits so far, with the end that the server would find for it."""
    whole = ended_if_short(compiled, text)
    assert whole is not None, text
    return whole


def ended_if_short(compiled: CompiledGrammar, text: bytes) -> bytes | None:
    """The same; None where no end is near enough, as of a pattern of thousands of characters."""
    matcher = compiled.matchers()[1]
    assert matcher.try_consume_tokens(list(text)) == len(text), text
    ending = Ending(matcher, compiled.examples).find(Place().go(text))
    return None if ending is None else text + ending


def compiled(grammar: Grammar, texts: Sequence[bytes], ends: int = 1) -> CompiledGrammar:
    return CompiledGrammar(Vocabulary(Words(texts, ends)), grammar)  # type: ignore[arg-type]
