"""EngineGeneration: steps of one text, the caller's draw function, every way to end, and what goes wrong in between."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rbe_edge import GenerationOptions, Model, SamplingOptions, Session
from rbe_edge.bench.shapes import Shape, write_model
from rbe_edge.errors import Cancelled, ModelError, OptionError, RbeError, TokenizerError
from rbe_edge.runtime.engine_generation import Draw, EngineGeneration, Event
from rbe_edge.runtime.sampler import Sampler

PROMPT = "the thing and the other"
SAMPLING = SamplingOptions(temperature=1.5, seed=7)

Logits = npt.NDArray[np.float32]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    """Its context holds the prompt."""
    with model.session(context=128) as made:
        made.prefill(model.tokenize(PROMPT))
        yield made


def begin(session: Session, n_tokens: int | None = 12, draw: Draw | None = None) -> EngineGeneration:
    return EngineGeneration(session, SAMPLING, max_tokens=n_tokens, ignore_end=True, draw=draw)


def rest_of(generation: EngineGeneration) -> list[Event]:
    events = []
    while not events or events[-1].finish is None:
        events.append(generation.step())
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.text + event.rest for event in events)


def tokens_of(events: list[Event]) -> list[int]:
    return [event.token for event in events if event.token is not None]


def drawn(session: Session, n_tokens: int = 12) -> list[int]:
    """What the sampler draws behind the prompt; the context is then as before."""
    position = session.position
    with begin(session, n_tokens) as generation:
        tokens = tokens_of(rest_of(generation))
    last = session.tokens[position - 1]
    session.rewind(position - 1)
    session.prefill([last])
    return tokens


def test_steps_are_the_generation(model: Model, session: Session) -> None:
    position = session.position
    with begin(session) as generation:
        events = rest_of(generation)
    assert [event.finish for event in events] == [None] * 11 + ["length"]
    assert session.tokens[position:] == tuple(tokens_of(events)[:-1])  # the last one is not needed in the context
    session.rewind()
    again = session.generate(PROMPT, GenerationOptions(max_tokens=12, sampling=SAMPLING, ignore_end=True))
    assert "".join(again) == text_of(events) and again.tokens == tokens_of(events)


def test_a_draw_function_that_asks_the_sampler(session: Session) -> None:
    expected = drawn(session)
    shapes = set()

    def draw(logits: Logits, sampler: Sampler) -> int:
        shapes.add((logits.shape, logits.dtype))
        token = sampler.draw_from(logits)
        logits[:] = np.nan  # a copy: the session keeps its own
        sampler.close()  # the generation's: that stays
        return token

    with begin(session, draw=draw) as generation:
        assert tokens_of(rest_of(generation)) == expected
    assert shapes == {((session.model.info.vocabulary,), np.dtype(np.float32))}
    assert np.isfinite(session.logits).all()


def test_a_draw_function_that_chooses(model: Model, session: Session) -> None:
    position = session.position
    tokens = iter([9, np.int64(8), np.uint8(7), 0, model.info.vocabulary - 1])
    with begin(session, None, lambda logits, sampler: next(tokens, None)) as generation:
        events = rest_of(generation)
    assert tokens_of(events) == [9, 8, 7, 0, model.info.vocabulary - 1]
    assert (events[-1].token, events[-1].finish, events[-1].text) == (None, "caller", "")
    assert session.tokens[position:] == (9, 8, 7, 0, model.info.vocabulary - 1)  # all were appended for the last draw


def test_what_was_held_back_comes_at_the_end(model: Model, session: Session) -> None:
    incomplete = model.tokenize("\u00e9", special=False)[:1]
    assert len(model.token_bytes(incomplete[0])) == 1
    for finish in ("caller", "length"):
        tokens = iter(incomplete)
        limit = None if finish == "caller" else 1
        with begin(session, limit, lambda logits, sampler, tokens=tokens: next(tokens, None)) as generation:  # type: ignore[misc]
            events = rest_of(generation)
        assert (events[-1].finish, text_of(events), events[-1].rest) == (finish, "\ufffd", "\ufffd")
    with begin(session, None, lambda logits, sampler: incomplete[0]) as generation:
        assert generation.step().text == "" and generation.end() == "\ufffd"


def test_the_context_fills_up(session: Session) -> None:
    with begin(session, None) as generation:
        events = rest_of(generation)
    assert (events[-1].token, events[-1].finish, session.position) == (None, "context", 128)


def test_nothing_goes_on_behind_the_end(session: Session) -> None:
    for end in ("length", "end()"):
        with begin(session, 1) as generation:
            if end == "end()":
                assert generation.end() == ""
            else:
                rest_of(generation)
            before = session.tokens
            for call in (generation.step, generation.next, generation.end):
                with pytest.raises(RbeError, match="has ended"):
                    call()
            assert session.tokens == before


def test_next_appends_nothing(session: Session) -> None:
    expected, position = drawn(session), session.position
    with begin(session) as generation:
        for token in expected[:5]:
            assert generation.next().token == token
            session.prefill([token])
        assert session.position == position + 5
        assert generation.next().token == expected[5]
        assert session.position == position + 5
        assert tokens_of(rest_of(generation)) == expected[6:]  # a step appends what was drawn
        assert session.tokens[position:] == tuple(expected[:-1])


@pytest.mark.parametrize("wrong", [-1, 272, 2**32 - 1, 2**32 + 3, 2**70, "a", 1.0, [3]])
def test_a_draw_function_that_returns_no_token(session: Session, wrong: Any) -> None:
    before = session.tokens
    with begin(session, draw=lambda logits, sampler: wrong) as generation:
        with pytest.raises(OptionError, match="draw must return a token from 0 to 271, or None"):
            generation.step()
        with pytest.raises(RbeError, match="has ended"):
            generation.step()
    assert session.tokens == before and len(drawn(session)) == 12


def test_exceptions_of_draw_are_raised_again(session: Session) -> None:
    expected, position = drawn(session), session.position

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    def use_the_session() -> None:
        session.prefill([1])

    def fail() -> None:
        raise ZeroDivisionError("from inside")

    for disturb, error in ((fail, ZeroDivisionError), (press, KeyboardInterrupt), (use_the_session, RbeError)):
        calls = iter(range(100))

        def draw(logits: Logits, sampler: Sampler, calls: Iterator[int] = calls, disturb: Any = disturb) -> int:
            if next(calls) == 3:
                disturb()
            return sampler.draw_from(logits)

        with begin(session, draw=draw) as generation:
            assert [generation.step().token for _ in range(3)] == expected[:3]
            with pytest.raises(error):
                generation.step()
            with pytest.raises(RbeError, match="has ended"):
                generation.step()
        assert session.tokens[position:] == tuple(expected[:3])
        session.rewind(position - 1)
        session.prefill(session.model.tokenize(PROMPT)[-1:])
    assert drawn(session) == expected


def test_closing_while_it_draws_is_refused(model: Model, session: Session) -> None:
    refused: list[str] = []

    def draw(logits: Logits, sampler: Sampler) -> int:
        for owner in (generation, session, model):
            with pytest.raises(RbeError, match="cannot be closed") as error:
                owner.close()
            refused.append(str(error.value))
        return sampler.draw_from(logits)

    generation = begin(session, 3, draw)
    assert len(rest_of(generation)) == 3 and len(refused) == 9
    generation.close()
    generation.close()


def test_cancelling_and_going_on(session: Session) -> None:
    expected = drawn(session)
    with begin(session) as generation:
        found = [generation.step().token for _ in range(4)]
        before = session.tokens
        session.cancel()
        with pytest.raises(Cancelled):
            generation.step()
        assert session.tokens == before
        found += tokens_of(rest_of(generation))
    assert found == expected


def test_what_has_been_closed(model: Model, session: Session) -> None:
    generation, second, third = (begin(session) for _ in range(3))
    generation.step()
    generation.close()
    calls = [generation.step, generation.next, generation.end]
    for call in calls:
        with pytest.raises(ModelError, match="generation has been closed"):
            call()
    second.step()
    session.close()
    for call in (second.step, second.next, second.end, generation.step, lambda: begin(session)):
        with pytest.raises(ModelError, match="session has been closed"):
            call()
    second.close()
    model.close()
    with pytest.raises(ModelError, match="closed"):
        third.step()
    third.close()


def test_no_logits_and_a_context_that_was_rewound(model: Model, session: Session) -> None:
    with model.session(context=32) as empty, begin(empty) as generation:
        with pytest.raises(RbeError, match="no logits"):
            generation.step()
        empty.prefill([1, 2])
        assert generation.step().token is not None  # nothing was lost
    expected = drawn(session)
    with begin(session) as generation:
        assert generation.step().token == expected[0]
        session.rewind(3)
        session.prefill([5])
        generation.step()
        assert session.tokens == (*model.tokenize(PROMPT)[:3], 5, expected[0])


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 2**32}, {"stop": "text"}, {"stop": ("a", "")},
        {"stop": ("a\0b",)},
    ],
)  # fmt: skip
def test_options_out_of_range(session: Session, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        EngineGeneration(session, SAMPLING, **options)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    write_model(Shape("tiny", "random bits", 1, 64, 2, 1, 32, 64, 300), (2,), tmp_path / "model.rbe")
    with Model.open(tmp_path / "model.rbe") as model, model.session(context=32) as session:
        session.prefill([1])
        with pytest.raises(TokenizerError, match="no tokenizer"):
            begin(session)
