"""What constrained answers cover, beside llguidance as it comes, and how long they take (docs/server.md).

python -m tools.constraint_coverage VOCAB.json FOLDER ... [--every N] [--timed N]

VOCAB.json: the vocabulary of a byte-level BPE tokenizer, such as Qwen's. FOLDER: JSON files, each with a schema and its
tests ({"schema", "tests": [{"data", "valid"}]}, or a list of those), as JSON-Schema-Test-Suite and the `data` of
JSONSchemaBench's `maskbench` have them. --every: of the files of a folder take each N-th. --timed: masks to be timed.

A row for each folder and engine: schemas that compile; valid instances whose JSON text is accepted, of all; invalid
instances that are let through, of those whose schema compiles; milliseconds of processor time to compile, and
microseconds of a mask: mean, median, 99 of 100, largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llguidance

from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
from rbe_edge.grammar.grammar import GrammarError, of_schema
from rbe_edge.grammar.schema_error import SchemaError
from rbe_edge.grammar.vocabulary import Vocabulary
from tools.measure_server import FileVocabulary


class Refused(Exception):
    """The engine does not take the schema."""


class OurSchema:
    """As the server uses it."""

    def __init__(self, vocabulary: Vocabulary, schema: object) -> None:
        try:
            self._compiled = CompiledGrammar(vocabulary, of_schema(schema))
        except (SchemaError, GrammarError) as error:
            raise Refused(str(error)) from None

    def accepts(self, text: str) -> bool:
        matcher = self._compiled.matchers()[0]
        tokens = self._compiled.vocabulary.tokenizer.greedy_tokenize(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def mask_times(self, text: str) -> list[float]:
        constraint, times = Constraint(self._compiled), []
        for token in self._compiled.vocabulary.tokenizer.greedy_tokenize(text)[:200]:
            began = time.thread_time()
            constraint.mask()
            times.append(time.thread_time() - began)
            constraint.accept(token)
        return times


class PlainSchema:
    """As llguidance takes it."""

    def __init__(self, vocabulary: Vocabulary, schema: object) -> None:
        self._tokenizer = vocabulary.tokenizer
        text = '%llguidance {"no_forcing": true}\nstart: %json ' + json.dumps(schema)
        self._matcher = llguidance.LLMatcher(self._tokenizer, text, log_level=0)
        if self._matcher.is_error():
            raise Refused(self._matcher.get_error())

    def accepts(self, text: str) -> bool:
        matcher = self._matcher.deep_copy()
        tokens = self._tokenizer.greedy_tokenize(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    def mask_times(self, text: str) -> list[float]:
        matcher, times = self._matcher.deep_copy(), []
        for token in self._tokenizer.greedy_tokenize(text)[:200]:
            began = time.thread_time()
            matcher.compute_bitmask()
            times.append(time.thread_time() - began)
            matcher.consume_token(token)
        return times


def cases(folder: Path, every: int) -> Iterator[dict[str, Any]]:
    """The schemas of a folder with their tests."""
    for path in sorted(folder.rglob("*.json"))[::every]:
        found = json.loads(path.read_text(encoding="utf-8"))
        for case in found if isinstance(found, list) else [found]:
            if isinstance(case, dict) and "schema" in case:
                yield case


class Tally:
    """What one engine does with one folder."""

    def __init__(self) -> None:
        self.schemas = self.compiled = self.valid = self.accepted = self.invalid = self.let_through = 0
        self.compile_times: list[float] = []
        self.mask_times: list[float] = []

    def add(self, make: Callable[[object], OurSchema | PlainSchema], case: dict[str, Any], timed: int) -> None:
        tests = case.get("tests", [])
        self.schemas += 1
        self.valid += sum(test["valid"] for test in tests)
        began = time.thread_time()
        try:
            found = make(case["schema"])
        except Refused:
            return
        self.compile_times.append(time.thread_time() - began)
        self.compiled += 1
        for test in tests:
            text = json.dumps(test["data"], ensure_ascii=False)
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                continue  # half of a surrogate pair: no text that a model writes
            fits = found.accepts(text)
            self.accepted += fits and test["valid"]
            self.invalid += not test["valid"]
            self.let_through += fits and not test["valid"]
            if fits and test["valid"] and len(self.mask_times) < timed:
                self.mask_times += found.mask_times(text)

    def row(self) -> str:
        compile_ms = [1e3 * one for one in self.compile_times] or [0.0]
        mask_us = [1e6 * one for one in self.mask_times] or [0.0]
        counts = ((self.compiled, self.schemas), (self.accepted, self.valid), (self.let_through, self.invalid))
        parts = [f"{some} of {every}" for some, every in counts]
        return " | ".join([*parts, spread(compile_ms), spread(mask_us)])


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
    vocabulary = Vocabulary(FileVocabulary(options.vocabulary))  # type: ignore[arg-type]
    print(f"{vocabulary.size} tokens")
    print("| folder | engine | compile | accepted | let through | compile, ms | mask, us |")
    print("|---|---|---|---|---|---|---|")
    for folder in options.folders:
        for name, kind in (("rbe_edge", OurSchema), ("llguidance", PlainSchema)):
            tally = Tally()
            for case in cases(folder, options.every):
                tally.add(lambda schema, kind=kind: kind(vocabulary, schema), case, options.timed)  # type: ignore[misc]
            print(f"| {folder.name} | {name} | {tally.row()} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
