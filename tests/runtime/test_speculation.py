"""Speculative decoding gives the text of plain decoding, whatever is guessed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbe_edge.bench import shapes
from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.runtime import speculation
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions
from rbe_edge.runtime.session import Session

PROMPT = "<|im_start|>user\nHow do I pack a model? How do I pack a model?<|im_end|>\n<|im_start|>assistant\n"
SAMPLING = (SamplingOptions(), SamplingOptions(temperature=0.9, top_k=40, repeat_penalty=1.1, seed=5))


class Oracle:
    """Knows the continuation, and errs on purpose now and then."""

    def __init__(self, text: Sequence[int], wrong: float) -> None:
        self.text, self.wrong, self.random, self.closed = list(text), wrong, random.Random(1), False

    def propose(self, context: Sequence[int], count: int) -> list[int]:
        rest = self.text[len(context) : len(context) + count]
        return [token ^ 1 if self.random.random() < self.wrong else token for token in rest]

    def close(self) -> None:
        self.closed = True


def run(session: Session, options: GenerationOptions) -> tuple[list[int], str]:
    session.rewind(0)
    generation = session.generate(PROMPT, options)
    text = "".join(generation)
    return generation.tokens, text


@pytest.fixture(autouse=True)
def always_speculate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation._Schedule, "speculate", lambda self: True)


def test_a_pass_of_many_tokens_gives_the_logits_of_single_steps() -> None:
    """On which everything here rests."""
    with Model.open(demo_path()) as model, model.session(context=128) as session:
        tokens = model.tokenize("How do I pack a model for a small computer, and what does it cost?")
        session.prefill(tokens[:5])
        together = session.score(tokens[5:12], logits=True).logits
        assert together is not None
        session.rewind(5)
        for row, token in zip(together, tokens[5:12], strict=True):
            session.prefill((token,))
            np.testing.assert_array_equal(session.logits, row)


@pytest.mark.parametrize("sampling", SAMPLING, ids=("greedy", "sampled"))
@pytest.mark.parametrize("wrong", [0.0, 0.3, 1.0])
def test_text_is_that_of_plain_decoding(
    sampling: SamplingOptions, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Model.open(demo_path()) as model, model.session(context=512) as session:
        options = GenerationOptions(max_tokens=80, sampling=sampling, ignore_end=True)
        plain, text = run(session, options)
        held = session.tokens
        oracle = Oracle([*model.tokenize(PROMPT), *plain], wrong)
        monkeypatch.setattr(speculation, "PromptLookup", lambda: oracle)
        session.rewind(0)
        generation = session.generate(PROMPT, GenerationOptions(**{**vars(options), "speculate": "lookup"}))
        assert "".join(generation) == text and generation.tokens == plain
        assert session.tokens == held and oracle.closed
        found = generation.statistics
        assert found.drafted_tokens > 60 or wrong == 1.0
        assert {0.0: 0.95, 0.3: 0.2, 1.0: 0.0}[wrong] <= found.accepted_tokens / found.drafted_tokens <= 1 - wrong / 2


def test_lookup_finds_the_latest_longest_match() -> None:
    def propose(context: list[int], count: int) -> list[int]:
        return speculation.PromptLookup().propose(context, count)

    assert propose([1, 2, 3, 9, 1, 2, 3, 8, 7, 1, 2, 3], 2) == [8, 7]
    assert propose([5, 1, 2, 4, 2, 6, 1, 2], 3) == [4, 2, 6]
    assert propose([1, 2, 3], 4) == [] and propose([1], 4) == [] and propose([], 4) == []
    assert propose([3, 1, 2, 3], 4) == []  # one token alone says too little
    assert propose([7, 7, 7], 4) == [7]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(1, 6), max_size=20), st.integers(1, 5))
def test_lookup_in_a_text_that_grows_is_that_in_the_whole(text: list[int], steps: list[int], count: int) -> None:
    lookup, length = speculation.PromptLookup(), 0
    for step in steps:
        length += step
        context = text[:length]
        expected: list[int] = []
        for n in range(min(4, len(context) - 1), 1, -1):
            places = [i for i in range(len(context) - n) if context[i : i + n] == context[-n:]]
            if places:
                expected = context[places[-1] + n : places[-1] + n + count]
                break
        assert lookup.propose(context, count) == expected


def test_planes_draft_from_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nested.rbe"
    shapes.write_model(shapes.Shape("tiny", "", 2, 128, 4, 2, 32, 256, 300), (2, 2), path)
    with Model.open(path) as model, model.session(context=64) as session:
        texts = []
        for how in ("off", "planes"):
            session.rewind(0)
            session.prefill([1, 2, 3])
            ahead = speculation.continuation(session, GenerationOptions(speculate=how, draft_tokens=4))  # type: ignore[arg-type]
            said = []
            for _ in range(50):
                with ahead.logits_pointer() as logits:
                    said.append(int(np.ctypeslib.as_array(logits, shape=(300,)).argmax()))
                ahead.append(said[-1])
            ahead.close()
            texts.append((said, session.tokens))
        assert texts[0] == texts[1]
        assert ahead.acceptance is not None and ahead.acceptance.drafted > 0
    with Model.open(demo_path()) as model, model.session(context=64) as session:
        one = {name: replace(tensor, plane_bits=tensor.plane_bits[:1]) for name, tensor in model.tensors.items()}
        monkeypatch.setitem(vars(model), "tensors", one)
        with pytest.raises(OptionError, match="--nested"):
            list(session.generate("x", GenerationOptions(speculate="planes")))


def test_end_of_context_is_that_of_plain_decoding() -> None:
    with Model.open(demo_path()) as model, model.session(context=48) as session:
        results = []
        for how in ("off", "lookup"):
            session.rewind(0)
            generation = session.generate(PROMPT, GenerationOptions(ignore_end=True, speculate=how))  # type: ignore[arg-type]
            text = "".join(generation)
            results.append((text, generation.statistics.finish, session.tokens))
        assert results[0] == results[1] and results[0][1] == "context"
        with pytest.raises(ContextFull):
            session.prefill([1])


def test_closing_in_the_middle_leaves_the_text_alone() -> None:
    with Model.open(demo_path()) as model, model.session(context=256) as session:
        plain = session.generate(PROMPT, GenerationOptions(max_tokens=40, ignore_end=True))
        list(plain)
        expected = session.tokens
        session.rewind(0)
        generation = session.generate(PROMPT, GenerationOptions(ignore_end=True, speculate="lookup"))
        for _ in range(9):
            next(generation)
        generation.close()
        assert session.tokens == expected[: len(session.tokens)]
        prompt = len(model.tokenize(PROMPT))
        assert prompt <= len(session.tokens) <= prompt + len(generation.tokens)


def test_guessing_that_loses_is_paused() -> None:
    schedule = speculation._Schedule.__new__(speculation._Schedule)
    schedule.__init__()  # type: ignore[misc]
    speculate = SCHEDULE
    for _ in range(speculation._PLAIN_FIRST):
        assert not speculate(schedule)
        schedule.took(1.0, 0)
    for _ in range(speculation._TRIAL):
        assert speculate(schedule)
        schedule.took(2.0, 4)  # twice the time, and none was right
    assert not speculate(schedule)
    for _ in range(speculation._PAUSE):
        schedule.took(1.0, 0)
    for _ in range(speculation._TRIAL):
        assert speculate(schedule)
        schedule.took(2.0, 4)
        schedule.gained += 2
    assert speculate(schedule)


SCHEDULE = speculation._Schedule.speculate
