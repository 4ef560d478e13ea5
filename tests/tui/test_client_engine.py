"""The engine's thread: nothing of it runs on the event loop, and the loop never waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from driving import client, played

from rbe_edge.errors import ModelError, RbeError
from rbe_edge.runtime import native_handle
from rbe_edge.runtime.options import GenerationOptions, SessionOptions
from rbe_edge.store.conversations import StoredMessage
from rbe_edge.tui.engine import Engine, Feed, Outcome, Question
from rbe_edge.tui.turns import answered, latest_within, n_holding_answered, n_messages_of


def question(text: str = "hello", **options: Any) -> Question:
    return Question(text, (), "", GenerationOptions(**options))


@played
async def test_every_call_of_the_library_is_on_the_engines_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    callers: set[str] = set()
    use = native_handle.NativeHandle.use

    def watched(self: native_handle.NativeHandle) -> AbstractContextManager[Any]:
        callers.add(threading.current_thread().name)
        return use(self)

    monkeypatch.setattr(native_handle.NativeHandle, "use", watched)
    works: dict[str, str] = {}
    engine = Engine(observe=lambda work: works.setdefault(work, threading.current_thread().name))
    async with client(engine=engine) as it:
        await it.say("hello")
        await it.press("ctrl+r")
        await it.finished()
        await it.press("f2", "ctrl+s")
        await it.press("ctrl+n")
    assert callers and all(name.startswith("rbe-engine") for name in callers), callers
    assert {"open", "answer", "close"} <= set(works)
    assert all(name.startswith("rbe-engine") for name in works.values())


@played
async def test_the_loop_goes_on_while_the_engine_works() -> None:
    engine = Engine(observe=lambda work: time.sleep(0.5 if work == "answer" else 0))
    await engine.open(None, SessionOptions())
    answering = asyncio.create_task(engine.answer(question(), Feed()))
    ticks = 0
    while not answering.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5 and (await answering).text
    await engine.close()
    await engine.close()


@played
async def test_a_stop_that_came_too_late_does_not_hit_the_next_answer() -> None:
    engine = Engine()
    await engine.open(None, SessionOptions())
    engine.stop()  # nothing runs
    assert engine._session is not None
    engine._session.cancel()  # as a stop does just after an answer's last call
    outcome = await engine.answer(question(), Feed())
    assert outcome.error is None and outcome.text
    await engine.close()


@played
async def test_stopping_while_the_prompt_is_read() -> None:
    engine = Engine()
    await engine.open(None, SessionOptions())
    feed = Feed()
    feed.stopped = True
    outcome = await engine.answer(question(), feed)
    assert (outcome.text, outcome.error) == ("", None)
    await engine.close()


@played
async def test_what_fails_leaves_the_model_before(tmp_path: Path) -> None:
    engine = Engine()
    with pytest.raises(ModelError, match="no model is open"):
        await engine.configure(SessionOptions())
    assert isinstance((await engine.answer(question(), Feed())).error, ModelError)
    loaded = await engine.open(None, SessionOptions())
    (tmp_path / "bad.rbe").write_bytes(b"bad")
    for path in (tmp_path / "bad.rbe", tmp_path / "none.rbe", tmp_path):
        with pytest.raises(RbeError):
            await engine.open(path, SessionOptions())
    with pytest.raises(RbeError):
        await engine.configure(SessionOptions(context=2**31 - 1))
    assert engine.loaded == loaded and (await engine.answer(question(), Feed())).text
    await engine.close()


@played
async def test_a_restart_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rbe_edge.store.conversations import ConversationStore

    outcomes: list[Outcome] = []
    answer = Engine.answer

    async def watched(self: Engine, asked: Question, feed: Feed) -> Outcome:
        outcomes.append(await answer(self, asked, feed))
        return outcomes[-1]

    monkeypatch.setattr(Engine, "answer", watched)

    def read() -> int:
        statistics = outcomes[-1].statistics
        assert statistics is not None
        return statistics.prompt_tokens

    states = tmp_path / "states"
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store, states=states) as it:
            await it.say("tell me a story")
            await it.say("tell me a story")
            await it.say("hello")
            again = read()
            it.client.simulate_key("ctrl+q")
            await it.until(lambda: not it.client.is_running)
        assert [path.name for path in states.iterdir()] == ["1.state"]
        async with client(store=store, states=states) as it:
            await it.sees("rbe · the demo · tell me")
            assert "context 0/" not in it.text()
            await it.say("hello")
            assert read() <= again + 20  # the last turn, as without a restart
            it.client.simulate_key("ctrl+q")
            await it.until(lambda: not it.client.is_running)
        (states / "1.state").write_bytes(b"damaged")
        async with client(store=store, states=states, settings={"system": "x"}) as it:
            await it.say("hello")
            assert read() > 3 * again  # all of it is read again
            assert not (states / "1.state").exists()
            await it.press("ctrl+n")
            await it.until(lambda: (states / "1.state").exists(), "the state was not kept")
            await it.press("ctrl+o", "ctrl+d")
            await it.sees("Delete “")
            await it.press("y")
            await it.until(lambda: not store.list(), "it was not deleted")
            await it.press("escape")
            await it.until(lambda: not (states / "1.state").exists(), "the state outlived its conversation")


def test_what_the_model_sees() -> None:
    def said(letters: str) -> list[StoredMessage]:
        return [StoredMessage("user" if letter.islower() else "assistant", letter) for letter in letters]

    assert answered(said("aAbcCd")) == said("aAcC")  # b had no answer, d not yet
    assert answered(said("A")) == answered([]) == []
    long = [StoredMessage("user", "x" * 100), StoredMessage("assistant", "y" * 100)] * 5
    assert latest_within(long, 450) == (long[:4], 6)
    assert latest_within(long, 1) == ([], 10)
    assert n_messages_of(said("aAbBcC"), 2) == 4 and n_messages_of(said("aA"), 1) == 2
    holding = [n_holding_answered(said("aAbBcdD"), count) for count in (0, 2, 4, 6, 8)]
    assert holding == [0, 2, 4, 7, 7]  # c had no answer, and is passed over with what is before it
