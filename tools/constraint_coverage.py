"""What the engines of constrained answers cover, and how long they take (docs/server.md, "Answers in JSON").

python tools/constraint_coverage.py VOCAB.json FOLDER ... [--every N] [--timed N]

VOCAB.json: the vocabulary of a byte-level BPE tokenizer, such as Qwen's. FOLDER: JSON files, each with a schema and its tests
({"schema", "tests": [{"data", "valid"}]}, or a list of those), as JSON-Schema-Test-Suite and the `data` of JSONSchemaBench's
`maskbench` have them. --every: of the files of a folder take each N-th. --timed: tokens of valid instances whose masks are timed.

A table for each folder and engine: schemas that compile; valid instances whose JSON text is accepted, of all; invalid
instances that are let through, of those whose schema compiles; then milliseconds to compile, and microseconds of a mask.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import llguidance
import numpy as np

from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.constraint import Constraint, TokenBytes
from rbe_edge.grammar.grammar import GrammarError
from rbe_edge.grammar.json_schema import SchemaError, schema_grammar
from tools.measure_server import Vocabulary

_LONGEST = 20  # seconds for a schema


class Refused(Exception):
    """The engine does not take the schema."""


class Compiled(Protocol):
    """A schema that an engine has compiled."""

    def accepts(self, text: bytes) -> bool: ...

    def mask_times(self, text: bytes, most: int) -> list[float]:
        """Seconds of each mask along a text that fits, at most so many."""
        ...


class _AutomatonSchema:
    def __init__(self, tokens: TokenBytes, schema: object) -> None:
        try:
            self._tokens, self._root = tokens, schema_grammar(schema)
            self._automaton = Automaton(self._root)
        except (SchemaError, GrammarError) as error:
            raise Refused(str(error)) from None

    def accepts(self, text: bytes) -> bool:
        try:
            state = self._automaton.run(self._automaton.start, text)
        except GrammarError:
            return False
        return state != DEAD and self._automaton.accepts(state)

    def mask_times(self, text: bytes, most: int) -> list[float]:
        constraint, times = Constraint(self._tokens, self._root), []
        while text and len(times) < most:
            began = time.perf_counter()
            constraint.mask()
            times.append(time.perf_counter() - began)
            token = self._tokens.first_token(text)
            assert token is not None
            constraint.accept(token)
            text = text[self._tokens.lengths[token] :]
        return times


class _Words:
    """What llguidance.TokenizerWrapper reads."""

    def __init__(self, texts: list[bytes]) -> None:
        self.tokens = [*texts, b"<end>"]
        self.eos_token_id = len(texts)
        self.special_token_ids = [len(texts)]
        self.bos_token_id = None

    def __call__(self, text: object) -> list[int]:
        return []


class _LlguidanceSchema:
    def __init__(self, tokenizer: llguidance.LLTokenizer, schema: object) -> None:
        text = '%llguidance {"no_forcing": true}\nstart: %json ' + json.dumps(schema)
        self._tokenizer = tokenizer
        self._matcher = llguidance.LLMatcher(tokenizer, text, log_level=0)
        if self._matcher.is_error():
            raise Refused(self._matcher.get_error())

    def accepts(self, text: bytes) -> bool:
        matcher = self._matcher.deep_copy()
        tokens = self._tokenizer.greedy_tokenize(text.decode())
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def mask_times(self, text: bytes, most: int) -> list[float]:
        matcher, times = self._matcher.deep_copy(), []
        for token in self._tokenizer.greedy_tokenize(text.decode())[:most]:
            began = time.perf_counter()
            mask = matcher.compute_bitmask()
            np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")
            times.append(time.perf_counter() - began)
            matcher.consume_token(token)
        return times


def cases(folder: Path, every: int) -> Iterator[dict[str, Any]]:
    """The schemas of a folder with their tests."""
    for path in sorted(folder.rglob("*.json"))[::every]:
        found = json.loads(path.read_text(encoding="utf-8"))
        for case in found if isinstance(found, list) else [found]:
            if isinstance(case, dict) and "schema" in case:
                yield case


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Refused("it takes too long")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


class Tally:
    """What one engine does with one folder."""

    def __init__(self) -> None:
        self.schemas = self.compiled = self.valid = self.accepted = self.invalid = self.let_through = 0
        self.compile_times: list[float] = []
        self.mask_times: list[float] = []

    def add(self, make: Any, case: dict[str, Any], timed: int) -> None:
        tests = case.get("tests", [])
        self.schemas += 1
        self.valid += sum(test["valid"] for test in tests)
        try:
            with limited(_LONGEST):
                began = time.perf_counter()
                found: Compiled = make(case["schema"])
                self.compile_times.append(time.perf_counter() - began)
                self.compiled += 1
                self._judge(found, tests, timed)
        except Refused:
            return

    def _judge(self, found: Compiled, tests: list[dict[str, Any]], timed: int) -> None:
        for test in tests:
            text = json.dumps(test["data"], ensure_ascii=False).encode("utf-8", "surrogatepass")
            try:
                text.decode()
            except UnicodeDecodeError:  # half of a surrogate pair: no text that a model writes
                continue
            fits = found.accepts(text)
            self.accepted += fits and test["valid"]
            self.invalid += not test["valid"]
            self.let_through += fits and not test["valid"]
            if fits and test["valid"] and len(self.mask_times) < timed:
                self.mask_times += found.mask_times(text, 200)

    def row(self) -> str:
        compile_ms = [1e3 * one for one in self.compile_times] or [0.0]
        mask_us = [1e6 * one for one in self.mask_times] or [0.0]
        return (
            f"{self.compiled} of {self.schemas} | {self.accepted} of {self.valid} | {self.let_through} of {self.invalid} | "
            f"{spread(compile_ms)} | {spread(mask_us)}"
        )


def spread(values: list[float]) -> str:
    ordered = sorted(values)
    parts = (statistics.mean(ordered), ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
    return ", ".join(f"{part:.3g}" if part < 100 else f"{part:,.0f}" for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--timed", type=int, default=2000)
    options = parser.parse_args()
    vocabulary = Vocabulary(options.vocabulary)
    tokens = TokenBytes(vocabulary)  # type: ignore[arg-type]
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Words(vocabulary.texts)))  # type: ignore[no-untyped-call]
    engines = {
        "automaton": lambda schema: _AutomatonSchema(tokens, schema),
        "llguidance": lambda schema: _LlguidanceSchema(tokenizer, schema),
    }
    print(f"{len(vocabulary.texts)} tokens; times: mean, median, 99 of 100, largest")
    print("| folder | engine | compile | accepted | let through | compile, ms | mask, us |\n|---|---|---|---|---|---|---|")
    for folder in options.folders:
        for name, make in engines.items():
            tally = Tally()
            for case in cases(folder, options.every):
                tally.add(make, case, options.timed)
            print(f"| {folder.name} | {name} | {tally.row()} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
