"""Batch.advance: a generation gives what it gives alone, and what concerns one leaves the others as they are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rbe_edge import Model, SamplingOptions, Session
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError
from rbe_edge.runtime.batch import Batch
from rbe_edge.runtime.engine_generation import Draw, EngineGeneration, Event
from rbe_edge.runtime.sampler import Sampler

PROMPTS = [[5, 250, 17], [9, 9], [3, 201, 64, 30, 2, 8, 8, 1]]

Logits = npt.NDArray[np.float32]
Open = Callable[..., Session]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def opened(model: Model) -> Iterator[Open]:
    """Sessions that are closed in the end; the prompt of each is in its context."""
    with ExitStack() as stack:

        def open_one(prompt: Sequence[int], **options: Any) -> Session:
            session = stack.enter_context(model.session(**{"context": 64, "threads": 1, **options}))
            session.prefill(prompt)
            return session

        yield open_one


@pytest.fixture
def batch(model: Model) -> Iterator[Batch]:
    with model.batch(max_sessions=3, threads=2) as made:
        yield made


def begin(session: Session, seed: int = 0, n_tokens: int | None = None, draw: Draw | None = None) -> EngineGeneration:
    sampling = SamplingOptions(temperature=1.5, seed=seed)
    return EngineGeneration(session, sampling, max_tokens=n_tokens, ignore_end=True, draw=draw)


def alone(generation: EngineGeneration, n_steps: int = 1000) -> list[Event]:
    events: list[Event] = []
    while len(events) < n_steps and (not events or events[-1].finish is None):
        events.append(generation.step())
    return events


def events_of(outcomes: list[Event | BaseException]) -> list[Event]:
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Event)]


def test_each_as_alone(opened: Open, batch: Batch) -> None:
    lengths = [5, None, 9]
    expected = [alone(begin(opened(prompt), i, lengths[i])) for i, prompt in enumerate(PROMPTS)]
    sessions = [opened(prompt) for prompt in PROMPTS]
    generations = [begin(session, i, lengths[i]) for i, session in enumerate(sessions)]
    found: list[list[Event]] = [[] for _ in PROMPTS]
    while going := [i for i, events in enumerate(found) if not events or events[-1].finish is None]:
        for i, event in zip(going, events_of(batch.advance([generations[i] for i in going])), strict=True):
            found[i].append(event)
    assert found == expected
    assert [events[-1].finish for events in found] == ["length", "context", "length"]
    assert sessions[1].position == 64


def test_contexts_that_slide(opened: Open, batch: Batch) -> None:
    sliding = {"context": 16, "sinks": 4}
    expected = [alone(begin(opened(PROMPTS[0], **sliding), 1), 40), alone(begin(opened(PROMPTS[1]), 2), 40)]
    sessions = [opened(PROMPTS[0], **sliding), opened(PROMPTS[1])]
    generations = [begin(sessions[0], 1), begin(sessions[1], 2)]
    found = [events_of(batch.advance(generations)) for _ in range(40)]
    assert [list(events) for events in zip(*found, strict=True)] == expected
    drawn = [event.token for event in expected[0]]
    assert sessions[0].tokens[:4] == (*PROMPTS[0], drawn[0]) and sessions[0].position <= 16
    assert sessions[0].tokens[4:] == tuple(drawn[39 - (sessions[0].position - 4) : 39])


def test_a_step_that_is_to_slide_and_is_cancelled_changes_nothing(opened: Open, batch: Batch) -> None:
    def begun() -> list[EngineGeneration]:
        sessions = opened(PROMPTS[0], context=16, sinks=4), opened(PROMPTS[1])
        return [begin(sessions[0], 1), begin(sessions[1], 2)]

    generations, undisturbed = begun(), begun()
    while generations[0].session.position < 16:
        assert events_of(batch.advance(generations)) == events_of(batch.advance(undisturbed))
    before = [(one.session.tokens, one.session.logits.copy()) for one in generations]
    batch.cancel()
    with pytest.raises(Cancelled):
        batch.advance(generations)
    for one, (tokens, logits) in zip(generations, before, strict=True):
        assert one.session.tokens == tokens
        np.testing.assert_array_equal(one.session.logits, logits)
    for _ in range(20):
        assert events_of(batch.advance(generations)) == events_of(batch.advance(undisturbed))
    assert generations[0].session.position < 16


def test_a_cancel_before_sliding_leaves_the_context(opened: Open, batch: Batch) -> None:
    slides, other = opened([7] * 16, context=16, sinks=4), opened(PROMPTS[1])
    generations = [begin(slides, 1), begin(other, 2)]
    events_of(batch.advance(generations))  # nothing to append yet
    slides.cancel()
    outcomes = batch.advance(generations)
    assert isinstance(outcomes[0], Cancelled) and isinstance(outcomes[1], Event)
    assert slides.tokens == (7,) * 16
    slides.logits  # noqa: B018  still there
    events_of(batch.advance(generations))
    assert slides.position < 16


@pytest.mark.parametrize("wrong", [ZeroDivisionError, KeyboardInterrupt, OptionError, None])
def test_a_draw_function_that_fails_ends_its_own_text(
    opened: Open, batch: Batch, wrong: type[BaseException] | None
) -> None:
    calls = iter(range(100))

    def draw(logits: Logits, sampler: Sampler) -> int | None:
        if next(calls) < 2:
            return sampler.draw_from(logits)
        if wrong is ZeroDivisionError:
            raise ZeroDivisionError("from inside")
        if wrong is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        return None if wrong is None else 10**6

    expected = alone(begin(opened(PROMPTS[1]), 2), 6)
    fails, other = begin(opened(PROMPTS[0]), 1, draw=draw), begin(opened(PROMPTS[1]), 2)
    found = [events_of(batch.advance([fails, other])) for _ in range(2)]
    outcome, event = batch.advance([fails, other])
    if wrong is None:
        assert isinstance(outcome, Event) and (outcome.token, outcome.finish) == (None, "caller")
    else:
        assert type(outcome) is wrong
    assert isinstance(event, Event)
    assert fails.session.tokens == (*PROMPTS[0], *(events[0].token for events in found))
    with pytest.raises(OptionError, match=r"generation 0 .* has ended"):
        batch.advance([fails, other])
    rest = [events_of(batch.advance([other]))[0] for _ in range(3)]
    assert [*(events[1] for events in found), event, *rest] == expected


def test_cancelling_one_or_all(opened: Open, batch: Batch) -> None:
    expected = [alone(begin(opened(prompt), i), 6) for i, prompt in enumerate(PROMPTS)]
    generations = [begin(opened(prompt), i) for i, prompt in enumerate(PROMPTS)]
    found: list[list[Event]] = [[] for _ in PROMPTS]

    def advance() -> list[Event | BaseException]:
        outcomes = batch.advance(generations)
        for events, outcome in zip(found, outcomes, strict=True):
            if isinstance(outcome, Event):
                events.append(outcome)
        return outcomes

    for _ in range(2):
        advance()
    generations[1].session.cancel()
    before = generations[1].session.tokens
    cancelled = advance()[1]
    assert isinstance(cancelled, Cancelled) and str(cancelled) == "cancelled"
    assert generations[1].session.tokens == before and [len(events) for events in found] == [3, 2, 3]
    batch.cancel()
    with pytest.raises(Cancelled):
        batch.advance(generations)
    for generation in generations:
        generation.session.cancel()
    assert all(isinstance(outcome, Cancelled) for outcome in advance())
    for _ in range(3):
        advance()
    assert [len(events) for events in found] == [6, 5, 6]
    assert [events[:5] for events in found] == [events[:5] for events in expected]


def test_each_failure_has_its_own_message(opened: Open, batch: Batch) -> None:
    cancelled, wrong = begin(opened(PROMPTS[0])), begin(opened(PROMPTS[1]), draw=lambda logits, sampler: 5)
    batch.advance([cancelled, wrong])
    wrong.session.rewind(1)
    cancelled.session.cancel()
    outcomes = batch.advance([cancelled, wrong])
    assert str(outcomes[0]) == "cancelled" and isinstance(outcomes[1], Event)
    lost = begin(wrong.session)
    wrong.session.rewind(1)
    cancelled.session.cancel()
    outcomes = batch.advance([lost, cancelled])
    assert isinstance(outcomes[0], RbeError) and "no logits" in str(outcomes[0]) and str(outcomes[1]) == "cancelled"


def test_what_cannot_step_is_refused_whole(model: Model, opened: Open, batch: Batch, tiny_model: Path) -> None:
    sessions = [opened(prompt) for prompt in (*PROMPTS, [1])]
    a, b, c, d = (begin(session) for session in sessions)
    with Model.open(tiny_model) as second, second.session(context=64) as foreign:
        foreign.prefill([1])
        wrong: list[tuple[list[EngineGeneration], str]] = [
            ([], "1 to 3"),
            ([a, b, c, d], "1 to 3"),
            ([a, a], "only once"),
            ([a, begin(sessions[0])], "only once"),
            ([a, begin(foreign)], "generation 1 is not of the batch's model"),
        ]
        for generations, message in wrong:
            with pytest.raises(OptionError, match=message):
                batch.advance(generations)
    c.close()
    with pytest.raises(ModelError, match="generation has been closed"):
        batch.advance([a, c])
    sessions[1].close()
    with pytest.raises(ModelError, match="session has been closed"):
        batch.advance([a, b])
    assert sessions[0].tokens == tuple(PROMPTS[0])
    first = events_of(batch.advance([a, d]))  # nothing of it was drawn before
    with begin(opened(PROMPTS[0])) as same:
        assert same.step() == first[0]
    batch.close()
    with pytest.raises(ModelError, match="batch has been closed"):
        batch.advance([a])
    model.close()
    with pytest.raises(ModelError, match="closed"):
        batch.advance([a])


def test_closing_and_using_from_draw_is_refused(opened: Open, batch: Batch) -> None:
    refused: list[BaseException] = []

    def draw(logits: Logits, sampler: Sampler) -> int:
        calls: list[Callable[[], object]] = [
            first.close, second.close, second.step, second.session.close, batch.close, lambda: batch.advance([second]),
            lambda: second.session.prefill([1]),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(RbeError, match=r"cannot be closed|in use") as error:
                call()
            refused.append(error.value)
        return sampler.draw_from(logits)

    first, second = begin(opened(PROMPTS[0]), draw=draw), begin(opened(PROMPTS[1]), 2)
    expected = alone(begin(opened(PROMPTS[1]), 2), 3)
    assert [events_of(batch.advance([first, second]))[1] for _ in range(3)] == expected
    assert len(refused) == 21


def test_a_full_context_ends_one_text_and_is_an_outcome_of_step(opened: Open, batch: Batch) -> None:
    full, free = opened([1, 2, 3, 4], context=4), opened([1])
    generations = [begin(full), begin(free)]
    events_of(batch.advance(generations))
    ended, event = events_of(batch.advance(generations))
    assert (ended.token, ended.finish) == (None, "context") and event.finish is None
    assert full.tokens == (1, 2, 3, 4)
    outcomes = batch.step([full, free], [5, 6])
    assert isinstance(outcomes[0], ContextFull) and outcomes[1] is None
