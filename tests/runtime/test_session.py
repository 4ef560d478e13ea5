"""Sessions: the context, logits, scores, progress, cancelling and closing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rbe_edge import Model, Session
from rbe_edge.bench import shapes
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with model.session(context=64, threads=2) as made:
        yield made


def test_info(session: Session, model: Model) -> None:
    info = session.info
    assert (info.context, info.position, info.threads) == (64, 0, 2)
    assert 0 < info.kv_bytes < info.arena_bytes
    with model.session(context=64, kv="f32") as wide:
        assert 1.9 * info.kv_bytes < wide.info.kv_bytes <= 2 * info.kv_bytes
    with model.session() as default:
        assert default.context == 256


def test_prefill_at_once_and_in_steps_agree(model: Model, session: Session) -> None:
    session.prefill(TOKENS)
    assert session.position == len(TOKENS) and session.tokens == tuple(TOKENS)
    at_once = session.logits
    assert at_once.shape == (model.info.vocabulary,) and at_once.dtype == np.float32 and np.isfinite(at_once).all()
    with model.session(context=64, threads=1, pass_tokens=3) as other:
        for token in TOKENS:
            other.prefill([token])
        np.testing.assert_array_equal(other.logits, at_once)
    at_once[:] = 0  # a copy
    assert session.logits.any()


def test_numpy_arrays_are_tokens(session: Session) -> None:
    session.prefill(np.array(TOKENS, dtype=np.uint16))
    assert session.tokens == tuple(TOKENS)


@pytest.mark.parametrize("tokens", [[], [-1], [10**6], [2**70], ["a"], [[1, 2]]])
def test_what_are_no_tokens_is_refused(session: Session, tokens: list[int]) -> None:
    with pytest.raises(OptionError):
        session.prefill(tokens)
    assert session.position == 0


def test_rewind_forgets(session: Session) -> None:
    session.prefill(TOKENS)
    expected = session.logits
    session.prefill([9, 9, 9])
    session.rewind(len(TOKENS) - 1)
    with pytest.raises(RbeError, match="logits"):
        _ = session.logits
    session.prefill(TOKENS[-1:])
    np.testing.assert_array_equal(session.logits, expected)
    for n_tokens in (-1, len(TOKENS) + 1):
        with pytest.raises(OptionError):
            session.rewind(n_tokens)
    session.rewind()
    assert session.position == 0


def test_resume_keeps_the_common_prefix(session: Session) -> None:
    session.prefill(TOKENS)
    assert session.resume([*TOKENS, 7, 8]) == [7, 8] and session.position == len(TOKENS)
    assert session.resume([*TOKENS[:4], 7, 8]) == [7, 8] and session.position == 4
    assert session.resume(TOKENS[:4]) == TOKENS[3:4] and session.position == 3  # the last is always to be computed
    assert session.resume([1]) == [1] and session.position == 0


def test_common_counts_what_the_context_begins_with(session: Session) -> None:
    assert session.common([]) == session.common(TOKENS) == 0
    session.prefill(TOKENS)
    for count in (1, 4, len(TOKENS)):
        assert session.common(TOKENS[:count]) == session.common([*TOKENS[:count], 7, 8]) == count
    assert session.common([]) == session.common([TOKENS[0] + 1, *TOKENS[1:]]) == 0
    for tokens in ([-1], [10**6], ["a"]):
        with pytest.raises(OptionError, match="tokens must be"):
            session.common(tokens)  # type: ignore[arg-type]
    assert session.tokens == tuple(TOKENS)
    session.rewind(3)
    assert session.common(TOKENS) == 3
    session.close()
    for tokens in ([], TOKENS):
        with pytest.raises(ModelError, match="closed"):
            session.common(tokens)


def test_tokens_after_every_change(model: Model, session: Session) -> None:
    assert session.tokens == ()
    session.score(TOKENS)
    assert session.tokens == tuple(TOKENS)
    session.rewind(4)
    assert session.tokens == tuple(TOKENS[:4])
    session.resume([*TOKENS[:2], 9])
    assert session.tokens == tuple(TOKENS[:2])
    with model.session(context=16, sinks=2) as slides:
        slides.prefill(range(100, 116))
        slides.prefill([50])
        assert slides.tokens == (100, 101, *range(109, 116), 50)
        before, logits = slides.tokens, slides.logits.copy()
        slides.cancel()
        with pytest.raises(Cancelled):
            slides.prefill(range(20))
        assert slides.tokens == before
        with pytest.raises(Cancelled):
            slides.prefill(range(40), progress=lambda done, total: done > 20)  # it has slid by then
        assert slides.tokens == before and slides.position == len(before)
        np.testing.assert_array_equal(slides.logits, logits)
        slides.prefill([60])
        assert slides.tokens == (*before, 60)
    with pytest.raises(ModelError, match="closed"):
        _ = slides.tokens


def test_score_agrees_with_logits(session: Session) -> None:
    scores = session.score(TOKENS, logits=True)
    assert scores.logits is not None and scores.logits.shape[0] == len(TOKENS)
    logits = scores.logits.astype(np.float64)
    largest = logits.max(axis=1, keepdims=True)
    log_softmax = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    expected = [log_softmax[i, token] for i, token in enumerate(TOKENS[1:])]
    np.testing.assert_allclose(scores.log_probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(session.logits, scores.logits[-1])
    session.rewind()
    without = session.score(TOKENS)
    assert without.logits is None
    np.testing.assert_array_equal(without.log_probabilities, scores.log_probabilities)
    session.rewind()
    assert session.score(TOKENS[:1]).log_probabilities.shape == (0,)


def test_full_context_gives_the_numbers(session: Session) -> None:
    session.prefill([1] * 60)
    with pytest.raises(ContextFull, match=r"5 tokens .* 64, 60 of them in use"):
        session.prefill([1] * 5)
    assert session.position == 60
    session.prefill([1] * 4)
    with pytest.raises(ContextFull):
        session.score([1])


def test_progress_reports_and_stops(model: Model) -> None:
    with model.session(context=256, pass_tokens=16) as session:
        session.prefill(TOKENS)
        seen: list[tuple[int, int]] = []

        def stop_half_way(done: int, total: int) -> bool:
            seen.append((done, total))
            return 2 * done >= total

        with pytest.raises(Cancelled):
            session.prefill([3] * 128, progress=stop_half_way)
        assert session.tokens == tuple(TOKENS)  # as before the call
        assert seen == sorted(seen) and all(0 <= done <= total for done, total in seen)
        session.prefill([3] * 128, progress=lambda done, total: None)
        assert session.position == len(TOKENS) + 128


def test_exceptions_of_progress_are_raised_again(model: Model) -> None:
    with model.session(context=256, pass_tokens=16) as session:

        def fail(done: int, total: int) -> None:
            raise ZeroDivisionError("from inside")

        with pytest.raises(ZeroDivisionError, match="from inside"):
            session.prefill([3] * 128, progress=fail)
        assert session.position == 0
        session.prefill(TOKENS)


def test_ctrl_c_stops_a_prefill(model: Model) -> None:
    with model.session(context=256, pass_tokens=1) as session:

        def press(done: int, total: int) -> None:
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            session.prefill([3] * 128, progress=press)
        assert session.position == 0
        session.prefill(TOKENS)
        assert session.tokens == tuple(TOKENS)


def test_cancel_before_a_call(session: Session) -> None:
    session.prefill(TOKENS)
    session.cancel()
    with pytest.raises(Cancelled):
        session.prefill([1])
    assert session.tokens == tuple(TOKENS)
    session.prefill([1])


def test_cancel_from_another_thread(model: Model) -> None:
    with model.session(context=256, pass_tokens=1) as session:
        running = threading.Event()

        def cancel() -> None:
            running.wait(30)
            session.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()

        def slow(done: int, total: int) -> None:
            running.set()
            time.sleep(0.02)

        with pytest.raises(Cancelled):
            session.prefill([3] * 250, progress=slow)
        thread.join()
        assert session.position == 0


def test_one_call_at_a_time(model: Model) -> None:
    with model.session(context=256) as session:
        caught: list[BaseException] = []

        def use_it_too(done: int, total: int) -> None:
            try:
                session.prefill([1])
            except RbeError as error:
                caught.append(error)

        session.prefill(TOKENS, progress=use_it_too)
        assert caught and all("in use" in str(error) for error in caught)
        assert session.tokens == tuple(TOKENS)


def test_closing_from_another_thread_cancels(model: Model) -> None:
    session = model.session(context=256, pass_tokens=1)
    running = threading.Event()

    def close() -> None:
        running.wait(30)
        session.close()

    thread = threading.Thread(target=close)
    thread.start()

    def slow(done: int, total: int) -> None:
        running.set()
        time.sleep(0.02)

    with pytest.raises(Cancelled):
        session.prefill([3] * 250, progress=slow)
    thread.join()
    with pytest.raises(ModelError, match="closed"):
        session.prefill([3])


def test_closing_from_inside_is_refused(model: Model) -> None:
    with model.session(context=256) as session:
        with pytest.raises(RbeError, match="progress function"):
            session.prefill(TOKENS, progress=lambda done, total: session.close())
        with pytest.raises(RbeError, match="progress function"):
            session.prefill(TOKENS, progress=lambda done, total: model.close())
        session.prefill(TOKENS)
        assert model.info.layers == 2 and model.memory.sessions_in_use > 0  # it stays open


@pytest.mark.parametrize(
    "options",
    [{"context": -1}, {"threads": 65}, {"pass_tokens": 513}, {"kv": "f8"}, {"threads": -1}, {"context": 2**40}],
)
def test_options_out_of_range(model: Model, options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        model.session(**options)  # type: ignore[arg-type]


def test_strips_whose_tokens_the_threads_share_give_the_same_bits(tmp_path: Path) -> None:
    # 3 strips a matrix (5 for query, key and value): with 2 threads and a pass of 70 tokens one is left to share,
    # with 4 all three are
    shape = shapes.Shape("thirds", "nothing", 2, 576, 9, 3, 64, 704, 512)
    path = tmp_path / "thirds.rbe"
    shapes.write_model(shape, (3,), path)
    tokens = [(7 * index + 3) % 512 for index in range(70)]
    with Model.open(path) as model:
        found = []
        for threads, pass_tokens in ((1, 1), (1, 128), (2, 128), (3, 128), (4, 128)):
            with model.session(context=128, threads=threads, pass_tokens=pass_tokens) as session:
                found.append(session.score(tokens, logits=True).logits)
    assert found[0] is not None and all(np.array_equal(found[0], other) for other in found[1:])
