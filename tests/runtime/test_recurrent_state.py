"""Layers that keep a matrix of the sequence (gated delta nets, state spaces): however a sequence came to be, and went
back, it is the one that is computed from nothing, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import recurrent_models
from recurrent_models import RULES, write_recurrent
from sessions_that_go_back import (
    END,
    assert_goes_on,
    edit_regenerate_and_fork,
    from_nothing,
    run_layers_behind,
    slide_save_and_fork,
    throw_guesses_away,
)

from rbe_edge import Model, Session
from rbe_edge.errors import Cancelled, OptionError, StateError
from rbe_edge.runtime.effort import SKIP, Effort

EVERY = 128  # the least distance of two checkpoints
TOKENS = [(7 * i * i + 3 * i + i // 5) % 250 for i in range(700)]


@pytest.fixture(scope="module", params=RULES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recurrent")
    return write_recurrent(recurrent_models.source(directory / "source"), directory / "model.rbe", RULES[request.param])


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


@pytest.mark.parametrize(("pass_tokens", "threads"), [(1, 1), (3, 2), (64, 3), (500, 2)])
def test_passes_of_any_size_and_threads(model: Model, pass_tokens: int, threads: int) -> None:
    with model.session(context=1024, threads=threads, pass_tokens=pass_tokens) as session:
        session.prefill(TOKENS[:505])
        for n in range(505, 520):
            session.prefill([TOKENS[n]])
        np.testing.assert_array_equal(session.logits, from_nothing(model, TOKENS[:520], 128))


def test_unequal_sessions_step_together(model: Model) -> None:
    """Each of a text of its own, some at a checkpoint."""
    lengths = [1, 2, EVERY - 1, EVERY, 300]
    texts = [[token + number for token in TOKENS[: n + 9]] for number, n in enumerate(lengths)]
    sessions = [model.session(context=1024, threads=1, pass_tokens=7 + n % 60) for n in lengths]
    with model.batch(max_sessions=len(sessions), threads=2) as batch:
        for session, text, n in zip(sessions, texts, lengths, strict=True):
            session.prefill(text[:n])
        for step in range(9):
            tokens = [text[n + step] for text, n in zip(texts, lengths, strict=True)]
            assert batch.step(sessions, tokens) == [None] * len(sessions)
    for session, text in zip(sessions, texts, strict=True):
        assert_goes_on(session, model, text)
        session.close()


def computed(session: Session) -> int:
    """Passes so far."""
    return sum(entry.calls for entry in session.profile if entry.operation == "embedding")


def test_going_back_computes_less_than_half(model: Model) -> None:
    """Of a sequence that is read in passes of 16 tokens."""
    for n in (690, 511, 500, 300, 140):
        with model.session(context=1024, threads=1, pass_tokens=16, profile=True) as session:
            session.prefill(TOKENS)
            calls = computed(session)
            session.rewind(n)
            assert computed(session) - calls <= max(n / 2, 2 * EVERY) / 16 + 1, n
            assert_goes_on(session, model, TOKENS[:n])


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
        other.rewind(600)
        assert_goes_on(other, model, TOKENS[:600])
        for n in (0, 2, EVERY, 650, 700):
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
        known = [n.to_bytes(4, "little") for n in (EVERY, 2 * EVERY)]
        places = [at for at in range(64 + 1200, len(data), 4) if data[at : at + 4] in known]
        assert len(places) >= 2 * 2
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
    """In its first pass or later, and though the context slid."""

    def stop(done: int, total: int) -> None:
        if done >= 200:
            raise Cancelled("enough")

    for sinks in (0, 4):
        with model.session(context=400, threads=1, pass_tokens=16, sinks=sinks) as session:
            session.prefill(TOKENS[:130])
            with pytest.raises(Cancelled):
                session.prefill(TOKENS[130:399] * (2 if sinks else 1), progress=stop)
            assert_goes_on(session, model, TOKENS[:130])
            session.rewind(EVERY)
            assert_goes_on(session, model, TOKENS[:EVERY])


def test_a_context_that_slides(model: Model, tmp_path: Path) -> None:
    for context, sinks in ((100, 1), (300, 4), (700, 300)):
        slide_save_and_fork(model, tmp_path / "state", (TOKENS, TOKENS[:200]), TOKENS[:150], context, sinks)


def test_sliding_keeps_what_was_read(model: Model) -> None:
    """The matrices are of all tokens: before the first attention a context that slid is as one that did not."""
    with model.session(context=100, sinks=4, threads=1) as session, model.session(context=1024, threads=1) as whole:
        for one in (session, whole):
            one.prefill(TOKENS[:320])
        with model.session(threads=1) as empty:
            states = [empty.embed(END), empty.embed(END)]
        for one, hidden in zip((session, whole), states, strict=True):
            one.run_layers(0, 1, hidden, position=one.position)
        np.testing.assert_array_equal(states[0], states[1])


def test_a_recurrence_that_is_left_out_keeps_its_state(model: Model) -> None:
    """In passes of any size; the first layer's reads the same whatever is left out."""
    without = Effort(attention=(SKIP, 0, 0, 0), feed_forward=(0, 0, 0, 0))
    results, states = [], []
    for pass_tokens in (1, 50):
        with model.session(context=1024, threads=1, pass_tokens=pass_tokens) as session:
            session.set_effort(without)
            session.prefill(TOKENS[:200])
            results.append(session.logits.copy())
            session.set_effort(None)
            with model.session(threads=1) as empty:
                states.append(empty.embed(END))
            session.run_layers(0, 1, states[-1], position=200)
    with model.session(context=1024, threads=1) as whole, model.session(threads=1) as empty:
        whole.prefill(TOKENS[:200])
        states.append(empty.embed(END))
        whole.run_layers(0, 1, states[-1], position=200)
        assert not np.array_equal(whole.logits, results[0])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_layers_alone_go_on_where_they_ended(model: Model) -> None:
    with model.session(context=1024, threads=1) as session:
        hidden = session.embed(TOKENS[:30])
        first, rest = hidden[:20].copy(), hidden[20:].copy()
        session.run_layers(0, 4, hidden)
        session.run_layers(0, 4, first)
        session.run_layers(0, 4, rest, position=20)
        np.testing.assert_array_equal(np.concatenate([first, rest]), hidden)
        with pytest.raises(OptionError, match="no state of 25 positions"):
            session.run_layers(0, 4, rest, position=25)


def test_guesses_that_are_thrown_away(model: Model) -> None:
    throw_guesses_away(model, TOKENS[:5])


def test_two_hundred_turns_of_editing_regenerating_and_forking(model: Model) -> None:
    edit_regenerate_and_fork(model, 200)


def test_layers_that_run_behind_a_session_leave_it_alone(model: Model) -> None:
    run_layers_behind(model, TOKENS)
