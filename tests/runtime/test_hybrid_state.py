"""Layers with a state of their own (short convolutions): however a sequence came to be, and went back, it is the one
that is computed from nothing, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from sessions_that_go_back import (
    END,
    assert_goes_on,
    edit_regenerate_and_fork,
    from_nothing,
    run_layers_behind,
    slide_save_and_fork,
    throw_guesses_away,
)

from rbe_edge import Model
from rbe_edge.errors import Cancelled, StateError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort

CONTEXT = 2048
ROWS, EVERY = 64, 128  # positions that the state keeps at hand, and between two checkpoints
TOKENS = [(7 * i * i + 3 * i + i // 5) % 250 for i in range(700)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with room for more than its tiny siblings have, of convolutions that read five tokens."""
    tiny = tiny_models.MODELS["lfm2_taps"]
    longer = dataclasses.replace(tiny, config={**tiny.config, "max_position_embeddings": CONTEXT})
    directory = tmp_path_factory.mktemp("hybrid")
    return pack(tiny_models.write(longer, directory / "source"), directory / "model.rbe", PackOptions(bits=16)).path


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


def embedded(model: Model) -> Any:
    """END before the first layer."""
    with model.session(context=1024, threads=1) as session:
        return session.embed(END)


@pytest.mark.parametrize(("pass_tokens", "threads"), [(1, 1), (3, 2), (64, 3), (500, 2)])
def test_passes_of_any_size_and_threads(model: Model, pass_tokens: int, threads: int) -> None:
    with model.session(context=1024, threads=threads, pass_tokens=pass_tokens) as session:
        session.prefill(TOKENS[:505])
        for n in range(505, 520):
            session.prefill([TOKENS[n]])
        np.testing.assert_array_equal(session.logits, from_nothing(model, TOKENS[:520], 128))


def test_unequal_sessions_step_together(model: Model) -> None:
    """Each of a text of its own, some a position behind one another."""
    lengths = [1, 2, 4, ROWS, EVERY - 1, EVERY, 300]
    texts = [[token + number for token in TOKENS[: n + ROWS + 9]] for number, n in enumerate(lengths)]
    sessions = [model.session(context=1024, threads=1, pass_tokens=7 + n % 60) for n in lengths]
    with model.batch(max_sessions=len(sessions), threads=2) as batch:
        for session, text, n in zip(sessions, texts, lengths, strict=True):
            session.prefill(text[:n])
        for step in range(ROWS + 9):
            tokens = [text[n + step] for text, n in zip(texts, lengths, strict=True)]
            assert batch.step(sessions, tokens) == [None] * len(sessions)
    for session, text in zip(sessions, texts, strict=True):
        assert_goes_on(session, model, text)
        session.close()


@pytest.mark.parametrize(
    "n", [0, 1, 3, 4, EVERY - 1, EVERY, EVERY + 1, 3 * EVERY + 5, 699 - ROWS, 640, 690, 698, 699, 700]
)
def test_goes_back_to_any_position(model: Model, n: int) -> None:
    with model.session(context=1024, threads=1) as session:
        session.prefill(TOKENS)
        session.rewind(n)
        assert_goes_on(session, model, TOKENS[:n])


def test_going_back_computes_less_than_two_passes(model: Model) -> None:
    """Of 700 tokens, no more than lie between two checkpoints."""
    with model.session(context=1024, threads=1, pass_tokens=64, profile=True) as session:
        session.prefill(TOKENS)
        for n in (650, 600, 390, 129):
            calls = sum(entry.calls for entry in session.profile if entry.operation == "embedding")
            session.rewind(n)
            assert sum(entry.calls for entry in session.profile if entry.operation == "embedding") - calls <= 2, n
        assert_goes_on(session, model, TOKENS[:129])


def test_what_was_thrown_away_is_not_used(model: Model) -> None:
    """Positions that were computed for other tokens, at checkpoints too, lie where those of the new ones are to be."""
    others = [token + 1 for token in TOKENS]
    with model.session(context=1024, threads=1, pass_tokens=100) as session:
        session.prefill(TOKENS)
        session.rewind(200)
        session.prefill(others[200:250])
        session.rewind(249)
        session.prefill(others[249:400])
        session.rewind(390)
        session.rewind(2 * EVERY + 1)
        assert_goes_on(session, model, TOKENS[:200] + others[200 : 2 * EVERY + 1])


def test_saved_restored_and_copied(model: Model, tmp_path: Path) -> None:
    with (
        model.session(context=1024, threads=1) as session,
        model.session(context=900, threads=2, pass_tokens=9) as other,
    ):
        session.prefill(TOKENS)
        session.save(tmp_path / "state")
        other.prefill([token + 1 for token in TOKENS[:500]])
        assert other.restore(tmp_path / "state") == TOKENS
        other.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "state").read_bytes()
        assert_goes_on(other, model, TOKENS)
        other.rewind(3 * EVERY)  # checkpoints are kept too
        assert_goes_on(other, model, TOKENS[: 3 * EVERY])
        for n in (0, 2, 100, EVERY, 300, 650, 699, 700):
            other.copy_from(session, n)
            assert_goes_on(other, model, TOKENS[:n])
        assert_goes_on(session, model, TOKENS)


def test_a_damaged_state(model: Model, tmp_path: Path) -> None:
    """Positions of checkpoints that make no sense, with a right checksum, give wrong answers and nothing worse."""
    from test_session_state import with_checksum

    with model.session(context=1024, threads=1, sinks=4) as session:
        session.prefill(TOKENS[:300])
        session.save(tmp_path / "state")
        data = (tmp_path / "state").read_bytes()
        known = [n.to_bytes(4, "little") for n in (EVERY, 2 * EVERY, 299, 298)]
        places = [at for at in range(64 + 1200, len(data), 4) if data[at : at + 4] in known]
        assert len(places) >= 4 * 2
        for value in (0, 1, 5000, 2**31, 2**32 - 16):
            damaged = data
            for at in places:
                damaged = damaged[:at] + value.to_bytes(4, "little") + damaged[at + 4 :]
            (tmp_path / "damaged").write_bytes(with_checksum(damaged))
            try:
                session.restore(tmp_path / "damaged")
            except StateError:
                continue
            session.rewind(200)
            session.prefill(TOKENS)
            session.prefill(TOKENS)  # it slides
            session.rewind(10)


def test_a_call_that_is_stopped_leaves_the_state(model: Model) -> None:
    """Though it has written over all positions that are at hand."""
    for sinks in (0, 4):
        with model.session(context=400, threads=1, pass_tokens=16, sinks=sinks) as session:
            session.prefill(TOKENS[:130])
            with pytest.raises(Cancelled):
                session.prefill(TOKENS[130:399] * (2 if sinks else 1), progress=stop_behind(440 if sinks else 200))
            assert_goes_on(session, model, TOKENS[:130])
            session.rewind(EVERY)
            assert_goes_on(session, model, TOKENS[:EVERY])


def stop_behind(n_tokens: int):  # type: ignore[no-untyped-def]
    def progress(done: int, total: int) -> None:
        if done >= n_tokens:
            raise Cancelled("enough")

    return progress


def test_a_context_that_slides(model: Model, tmp_path: Path) -> None:
    for context, sinks in ((100, 1), (300, 4), (300, 140)):
        slide_save_and_fork(model, tmp_path / "state", (TOKENS,), TOKENS[:250], context, sinks)


def test_sliding_keeps_what_was_read_last(model: Model) -> None:
    """Layers before the first attention see a few tokens alone: there a context that slid is as one that did not."""
    with model.session(context=100, sinks=4, threads=1) as session, model.session(context=1024, threads=1) as whole:
        session.prefill(TOKENS[:320])
        whole.prefill(TOKENS[:320])
        states = [embedded(model), embedded(model)]
        for one, hidden in zip((session, whole), states, strict=True):
            one.run_layers(0, 1, hidden, position=one.position)
        np.testing.assert_array_equal(states[0], states[1])


def test_a_convolution_that_is_left_out_keeps_its_state(model: Model) -> None:
    """The first layer's convolution, which reads the same whatever is left out; and in passes of any size."""
    without = Effort(attention=(SKIP, 0, 0, 0), feed_forward=(0, 0, 0, 0))
    with model.session(context=1024, threads=1) as session, model.session(context=1024, threads=1) as whole:
        session.set_effort(without)
        session.prefill(TOKENS[:200])
        whole.prefill(TOKENS[:200])
        assert not np.array_equal(session.logits, whole.logits)
        session.set_effort(None)
        states = [embedded(model), embedded(model)]
        for one, hidden in zip((session, whole), states, strict=True):
            one.run_layers(0, 1, hidden, position=200)
        np.testing.assert_array_equal(states[0], states[1])
    results = []
    for pass_tokens in (1, 50):
        with model.session(context=1024, threads=1, pass_tokens=pass_tokens) as session:
            session.set_effort(without)
            session.prefill(TOKENS[:200])
            results.append(session.logits.copy())
    np.testing.assert_array_equal(results[0], results[1])


def test_guesses_that_are_thrown_away(model: Model) -> None:
    throw_guesses_away(model, TOKENS[:5])


def test_two_hundred_turns_of_editing_regenerating_and_forking(model: Model) -> None:
    edit_regenerate_and_fork(model, 200)


def test_layers_that_run_behind_a_session_leave_it_alone(model: Model) -> None:
    run_layers_behind(model, TOKENS)
