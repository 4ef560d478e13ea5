"""Answers that go on where they were cut, and several answers to one question."""

from __future__ import annotations

from pathlib import Path

from driving import client, played
from engines import Said

from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.widgets.prompt_area import PromptArea


@played
async def test_a_cut_answer_goes_on_as_one_answer() -> None:
    async with client(settings={"max_tokens": 4, "temperature": 0.0}) as it:
        await it.press("f8")
        await it.told("nothing was asked yet")
        await it.say("tell me a story")
        await it.sees("Cut here: the answer reached its longest. F8 goes on")
        first = it.said[1]
        await it.press("f8")
        await it.finished()
        assert len(it.said) == 2 and it.said[1].startswith(first) and len(it.said[1]) > len(first)
        assert it.text().count("Cut here") == 1 and it.said[1] in it.text()
        assert len(it.client.screen.query(".answer")) == 1
        assert [m.content for m in it.client.store.load(it.chat.id).messages] == it.said


@played
async def test_going_on_after_a_restart_and_where_nothing_comes(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        store.write(store.new("t"), 0, [StoredMessage("user", "q"), StoredMessage("assistant", "one two \n")])
        engine = Said(" three", "")
        async with client(store=store, engine=engine) as it:
            await it.press("f8")
            await it.finished()
            assert engine.questions[0].begun == "one two" and it.said == ["q", "one two three"]
            await it.press("f8")
            await it.finished()
            await it.sees("one two three", "has nothing to add")
            assert it.said == ["q", "one two three"]


@played
async def test_earlier_answers_are_kept_and_turned_to(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        engine = Said("first", "second", "third", " and more", "")
        async with client(store=store, engine=engine) as it:
            await it.say("q")
            await it.press("alt+left")  # there is none
            for _ in range(2):
                await it.press("ctrl+r")
                await it.finished()
            await it.sees("the demo 3/3", "third")
            await it.press("alt+right")
            await it.press("alt+left")
            await it.sees("the demo 2/3", "second")
            assert it.said == ["q", "second"] and "third" not in it.text()
            await it.press("f8")
            await it.finished()
            await it.sees("the demo 2/3", "second and more")
            await it.press("ctrl+r")
            await it.finished()
            await it.sees("the demo 3/3", "third", "said nothing")  # the latest counts again
            await it.press("alt+left", "alt+left")
            await it.sees("the demo 1/3", "first")
            prompt = it.client.screen.query_one(PromptArea)
            await it.type("one two")
            await it.press("alt+left")  # where something is written it moves by words
            assert prompt.cursor_location == (0, 4)
            await it.press("alt+right")
            assert prompt.cursor_location == (0, 7) and it.said == ["q", "first"]
        engine = Said("next")
        async with client(store=store, engine=engine) as it:
            await it.sees("the demo 1/3", "first")
            await it.say("more")  # the model sees the answer that counts
            assert [m.content for m in engine.questions[-1].history] == ["q", "first"]
            await it.press("alt+right")
            assert it.said == ["q", "first", "more", "next"]
            answers = store.load(it.chat.id).messages[1].answers
            assert answers == ("first", "second and more", "third")


@played
async def test_an_answer_that_comes_again_is_kept_once() -> None:
    async with client(engine=Said("one", "two", "one", "one", "two")) as it:
        await it.say("q")
        for place, told in (("2/2", ""), ("1/2", "the same again"), ("1/2", "the same again")):
            await it.press("ctrl+r")
            await it.finished()
            await it.sees(f"the demo {place}", told)
        await it.press("ctrl+n")
        await it.say("p")
        assert it.said == ["p", "two"] and "same again" not in it.text()


def test_a_new_answer_replaces_none_before_it_says_something() -> None:
    chat = OpenChat(ConversationStore(None))
    chat.add("user", "q")
    chat.say("one")
    assert chat.ask_again() == 1 and chat.last_answer() == "one"
    for text in ("t", "tw", "two"):  # as it grows
        chat.say(text)
    assert chat.messages[-1] == StoredMessage("assistant", "two", ("one", "two"), 1)
    assert chat.ask_again() == 2
    chat.say("")
    assert chat.messages[-1] == StoredMessage("assistant", "two", ("one", "two"), 1)
    chat.add("user", "p")
    chat.say("three")
    assert chat.messages[-1] == StoredMessage("assistant", "three") and chat.turn(1) is None
