"""The API for asyncio: the loop goes on, cancelling stops the engine, sessions can be used again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from rbe_edge import Conversation, GenerationOptions, Model
from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.runtime.async_api import pieces

LONG = GenerationOptions(max_tokens=100, ignore_end=True)
HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


def test_the_same_text_as_without(model: Model) -> None:
    async def run() -> tuple[str, str]:
        joined = "".join([piece async for piece in model.astream(HELLO, max_tokens=12)])
        return joined.strip(), await model.achat(HELLO, max_tokens=12)

    expected = model.chat(HELLO, max_tokens=12)
    assert "".join(model.stream(HELLO, max_tokens=12)).strip() == expected
    assert asyncio.run(run()) == (expected, expected)


def test_two_at_once_and_no_call_on_the_loops_thread(model: Model) -> None:
    callers: set[int] = set()

    def report(done: int, total: int) -> None:
        callers.add(threading.get_ident())

    async def one(text: str) -> str:
        with model.session(threads=1) as session:
            return "".join([piece async for piece in pieces(session.generate(text, LONG, progress=report))])

    async def run() -> list[str]:
        return await asyncio.gather(one("Once"), one("The river"))

    texts = asyncio.run(run())
    assert len(callers) == 2 and threading.get_ident() not in callers
    with model.session() as session:
        assert "".join(session.generate("Once", LONG)) == texts[0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rbe-stream")]


def test_cancelling_the_task_stops_the_engine(model: Model) -> None:
    async def run() -> None:
        with model.session(context=256) as session:
            generation = session.generate("Once", GenerationOptions(ignore_end=True))
            came = asyncio.Event()

            async def consume() -> None:
                async for _ in pieces(generation):
                    came.set()

            task = asyncio.create_task(consume())
            await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert generation.statistics.finish == "interrupted"
            session.rewind()
            session.prefill([1, 2, 3])  # free, and no cancel is left over
            assert session.position == 3

    asyncio.run(run())


def test_cancelling_during_the_prompt(model: Model) -> None:
    async def run() -> None:
        with model.session(context=256, pass_tokens=1, threads=1) as session:
            began, go_on = threading.Event(), threading.Event()
            loop = asyncio.get_running_loop()

            def report(done: int, total: int) -> None:
                began.set()
                go_on.wait(timeout=30)

            generation = session.generate([1] * 200, LONG, progress=report)

            async def consume() -> None:
                async for _ in pieces(generation):
                    raise AssertionError("nothing can have come")

            task = asyncio.create_task(consume())
            await loop.run_in_executor(None, began.wait)
            task.cancel()
            await asyncio.sleep(0)  # the task is told
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert session.position == 0
            session.prefill([1])

    asyncio.run(run())


def test_leaving_the_loop_keeps_what_was_said(model: Model) -> None:
    async def run() -> None:
        with model.session(context=256) as session:
            conversation = Conversation(session, LONG)
            async with aclosing(pieces(conversation.send("Hello"))) as answer:
                said = await anext(answer)
                while not said.strip():
                    said += await anext(answer)
            assert conversation.messages[-1].role == "assistant"
            assert conversation.messages[-1].content.startswith(said)
            async for _ in pieces(conversation.send("And then?", options=GenerationOptions(max_tokens=3))):
                pass

    asyncio.run(run())


def test_errors_come_through(model: Model) -> None:
    with pytest.raises(ContextFull):
        asyncio.run(model.achat([{"role": "user", "content": "long " * 500}]))
    for messages in ([], [{"role": "assistant", "content": "Hi"}], [{"role": "user", "content": " "}]):
        with pytest.raises(OptionError):
            model.stream(messages)
    with pytest.raises(TypeError, match="temprature"):
        model.stream(HELLO, temprature=1)  # type: ignore[call-arg]


def test_stopping_a_reply(model: Model) -> None:
    with model.session(context=256) as session:
        conversation = Conversation(session, LONG)
        reply = conversation.send("Hello")
        said = [next(reply)]
        reply.stop()
        said += list(reply)
        assert reply.statistics is not None and reply.statistics.finish == "interrupted"
        assert reply.statistics.generated_tokens < 100
        assert conversation.messages[-1].content == "".join(said)


def test_token_counts(model: Model) -> None:
    assert model.count_tokens("Hello there") == len(model.tokenize("Hello there"))
    shorter = model.count_tokens(HELLO)
    assert shorter > model.count_tokens("Hello there")
    assert model.count_tokens([{"role": "system", "content": "Be brief."}, *HELLO]) > shorter
