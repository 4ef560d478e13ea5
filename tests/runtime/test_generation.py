"""Generation: determinism, stop sequences, streaming of valid text, statistics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rbe_edge import GenerationOptions, Model, SamplingOptions, Session
from rbe_edge.errors import Cancelled, ContextFull, OptionError

PROMPT = "the thing and the other"
FREE = GenerationOptions(max_tokens=60, sampling=SamplingOptions(temperature=1.5, seed=7), ignore_end=True)


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with model.session(context=128) as made:
        yield made


def generate(session: Session, options: GenerationOptions = FREE) -> str:
    session.rewind()
    return "".join(session.generate(PROMPT, options))


def test_pieces_are_valid_text_and_equal_the_tokens(model: Model, session: Session) -> None:
    generation = session.generate(PROMPT, FREE)
    pieces = list(generation)
    for piece in pieces:
        assert piece and piece.encode("utf-8").decode("utf-8") == piece
    raw = b"".join(model.token_bytes(token) for token in generation.tokens)
    assert "".join(pieces) == raw.decode("utf-8", "replace")
    assert any(byte >= 0x80 for byte in raw)  # a random model: bytes that are no text were among them
    assert generation.tokens[:-1] == list(session.tokens[-59:])  # the last one is not needed in the context


def test_same_seed_same_text(model: Model, session: Session) -> None:
    first = generate(session)
    assert generate(session) == first
    assert generate(session, replace(FREE, sampling=SamplingOptions(temperature=1.5, seed=8))) != first
    for threads, pass_tokens in ((1, 1), (3, 5)):
        with model.session(context=128, threads=threads, pass_tokens=pass_tokens) as other:
            assert generate(other) == first


def test_temperature_zero_takes_the_likeliest(session: Session) -> None:
    options = GenerationOptions(max_tokens=5, ignore_end=True)
    generation = session.generate(PROMPT, options)
    first = next(generation)
    assert first is not None
    list(generation)
    session.rewind()
    session.prefill(session.model.tokenize(PROMPT))
    for token in generation.tokens:
        assert int(session.logits.argmax()) == token
        session.prefill([token])


def test_statistics_of_a_full_length(session: Session) -> None:
    generation = session.generate(PROMPT, FREE)
    assert generation.statistics.generated_tokens == 0
    list(generation)
    statistics = generation.statistics
    assert statistics.prompt_tokens == len(session.model.tokenize(PROMPT))
    assert (statistics.generated_tokens, statistics.finish) == (60, "length")
    assert statistics.prompt_seconds > 0 and statistics.tokens_per_second > 0


def test_stop_sequence_ends_before_itself(session: Session) -> None:
    text = generate(session)
    stop = text[20:23]
    generation_text = generate(session, replace(FREE, stop=("\x01never", stop)))
    assert generation_text == text[: text.index(stop)]


def test_stop_says_so(session: Session) -> None:
    text = generate(session)
    session.rewind()
    generation = session.generate(PROMPT, replace(FREE, stop=(text[10],)))
    list(generation)
    assert generation.statistics.finish == "stop"


def test_the_context_fills_up(session: Session) -> None:
    generation = session.generate(PROMPT, replace(FREE, max_tokens=None))
    list(generation)
    assert generation.statistics.finish == "context" and session.position == 128


def test_the_model_ends_its_text(model: Model, session: Session) -> None:
    options = GenerationOptions(sampling=SamplingOptions(temperature=3.0))
    for seed in range(200):
        session.rewind()
        generation = session.generate(PROMPT, replace(options, sampling=replace(options.sampling, seed=seed)))
        list(generation)
        if generation.statistics.finish == "end":
            assert not any(map(model.ends_text, generation.tokens))
            return
    pytest.fail("a random model never drew an end token in 200 texts")


def test_a_text_continues_the_context(session: Session) -> None:
    list(session.generate(PROMPT, replace(FREE, max_tokens=3)))
    before = session.tokens
    list(session.generate(" and then", replace(FREE, max_tokens=3)))
    assert session.tokens[: len(before)] == before


def test_prompts_that_cannot_be(session: Session) -> None:
    for prompt in ("", []):
        with pytest.raises(OptionError, match="empty"):
            session.generate(prompt)
    with pytest.raises(ContextFull, match="128"):
        session.generate("the thing " * 100)
    assert session.position == 0


def test_nothing_runs_before_it_is_asked_for(session: Session) -> None:
    generation = session.generate(PROMPT, FREE)
    assert session.position == 0
    generation.close()
    assert session.position == 0 and list(generation) == []


def test_closing_keeps_the_session(session: Session) -> None:
    generation = session.generate(PROMPT, FREE)
    next(generation)
    generation.close()
    assert generation.statistics.finish == "interrupted"
    assert generate(session) == generate(session)


def test_cancel_ends_a_generation(session: Session) -> None:
    generation = session.generate(PROMPT, FREE)
    next(generation)
    session.cancel()
    with pytest.raises(Cancelled):
        list(generation)
    assert generation.statistics.finish == "interrupted"


def test_repeat_penalty_changes_a_loop(session: Session) -> None:
    plain = GenerationOptions(max_tokens=60, ignore_end=True)
    penalised = replace(plain, sampling=SamplingOptions(repeat_penalty=5.0))
    session.rewind()
    first = session.generate(PROMPT, plain)
    list(first)
    session.rewind()
    second = session.generate(PROMPT, penalised)
    list(second)
    assert len(set(second.tokens)) > len(set(first.tokens))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 1},
        {"min_p": -0.1}, {"repeat_penalty": 0}, {"repeat_last": 0}, {"seed": -1}, {"seed": 2**64},
    ],
)  # fmt: skip
def test_sampling_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        SamplingOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"stop": ("",)}, {"stop": "text"}, {"stop": ("a\0b",)}])
def test_generation_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        GenerationOptions(**options)  # type: ignore[arg-type]
