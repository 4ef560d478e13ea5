"""Times of the server's parts (docs/server.md): which tokens fit next, and several answers at once.

python tools/measure_server.py masks VOCAB.json          of a byte-level BPE tokenizer, such as Qwen's
python tools/measure_server.py answers [MODEL.rbe]       tokens per second of 1 to 8 answers, one thread
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
from rbe_edge.grammar.grammar import any_object, of_schema
from rbe_edge.grammar.vocabulary import Vocabulary
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SamplingOptions, SessionOptions
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.server.job import Job, Piece
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.scheduler import Scheduler

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "count": {"type": "integer"},
    },
    "required": ["name", "tags", "count"],
}
CASES = {
    "any object": (any_object(), '{"name": "Ann Smith", "b": {"c": [1, 2.5, "four and"]}, "z": "some words"}'),
    "a schema": (of_schema(SCHEMA), '{"name": "Ann Smith", "tags": ["one", "two words here"], "count": 123}'),
    "maxLength 400": (of_schema({"type": "string", "maxLength": 400}), '"' + "some words are here " * 8 + '"'),
}


class FileVocabulary:
    """What Vocabulary reads of a model, from a tokenizer file."""

    def __init__(self, path: Path) -> None:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
        # GPT-2's way to write bytes as letters.
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in plain]
        letters = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}
        self.texts = [b""] * (max(vocabulary.values()) + 1)
        for text, token in vocabulary.items():
            self.texts[token] = bytes(letters[letter] for letter in text)
        self.tokenizer_size = self.vocabulary = len(self.texts)
        self.info = self

    def token_bytes(self, token: int) -> bytes:
        return self.texts[token]

    def ends_text(self, token: int) -> bool:
        return False


def masks(path: Path) -> None:
    vocabulary = Vocabulary(FileVocabulary(path))  # type: ignore[arg-type]
    print(f"{vocabulary.size} tokens; milliseconds of processor time per token: finding which fit, and drawing one")
    for name, (grammar, text) in CASES.items():
        constraint, times, draws, data = Constraint(CompiledGrammar(vocabulary, grammar)), [], [], text.encode()
        with Sampler(vocabulary.size, SamplingOptions(temperature=0.0)) as sampler:
            while data:
                began = time.thread_time()
                constraint.mask()
                times.append(1e3 * (time.thread_time() - began))
                token = vocabulary.first_token(data)
                assert token is not None
                logits = np.zeros(vocabulary.size, dtype=np.float32)
                logits[token] = 1
                began = time.thread_time()
                constraint.draw(logits, sampler, len(data) + 50)
                draws.append(1e3 * (time.thread_time() - began))
                constraint.accept(token)
                data = data[len(vocabulary.texts[token]) :]
        parts = (f"mean {statistics.mean(part):.2f}, largest {max(part):.1f}" for part in (times, draws))
        print(f"{name:>14}: {'; '.join(parts)}; {len(times)} tokens")


def answers(path: Path) -> None:
    with Model.open(path) as model:
        model.ends_text = lambda token: False  # type: ignore[method-assign]  # as long as the context allows
        for count in (1, 2, 4, 8, 1, 2, 4, 8):
            done: list[Any] = []
            ended = threading.Event()

            def tell(event: object, done: list[Any] = done, ended: threading.Event = ended, count: int = count) -> None:
                if not isinstance(event, Piece):
                    done.append(event)
                    if len(done) == count:
                        ended.set()

            scheduler = Scheduler(model, SessionOptions(threads=1), count, 0, Metrics())
            prompt = model.tokenize("Once upon a time")
            began = time.perf_counter()
            for seed in range(count):
                sampling = SamplingOptions(temperature=1.0, seed=seed)
                scheduler.submit(Job(prompt=prompt, sampling=sampling, tell=tell, max_tokens=256))
            ended.wait()
            rate = sum(event.generated_tokens for event in done) / (time.perf_counter() - began)
            scheduler.stop()
            print(f"{count} at once: {rate:.0f} tokens/s together")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "masks":
        masks(Path(sys.argv[2]))
    elif len(sys.argv) in (2, 3) and sys.argv[1] == "answers":
        answers(Path(sys.argv[2]) if len(sys.argv) == 3 else demo_path())
    else:
        sys.exit(__doc__)
