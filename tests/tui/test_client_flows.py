"""The chat client as a person uses it, with the demo model."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from driving import client, played
from textual.widgets import Input, OptionList, TextArea

from rbe_edge.runtime.generation import Generation
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui.widgets.prompt_area import PromptArea
from rbe_edge.tui.widgets.status import Meters, Plot

STORY = "tell me a story"
# The demo answers in a moment; this goes on until the context is full.
ENDLESS: dict[str, Any] = {"settings": {"max_tokens": None}, "generation": GenerationOptions(ignore_end=True)}


@played
async def test_asking_and_answering() -> None:
    async with client() as it:
        await it.sees("new conversation", "It stays on this device", "context 0/")
        await it.say("hello")
        assert it.said[0] == "hello" and len(it.said) == 2
        await it.sees("rbe · the demo · hello", it.said[1][:40], "tokens/s")
        assert "- tokens/s" not in it.text() and "context 0/" not in it.text()
        await it.say("my name is Ada")
        await it.say("what is my name?")
        assert "Ada" in it.said[-1]  # the model sees what was said before
        assert [m.role for m in it.chat.messages] == ["user", "assistant"] * 3


@played
async def test_escape_stops_and_keeps_what_was_said() -> None:
    async with client(**ENDLESS) as it:
        it.ask(STORY)
        await it.until(lambda: it.position > 40, "no answer")
        await it.press("escape")
        await it.finished()
        await it.sees("Stopped.")
        assert len(it.said) == 2 and it.said[1].strip()
        assert it.client.store.load(it.chat.id).messages[1].content == it.said[1]
        it.client.base_generation = GenerationOptions()
        await it.say("hello")  # and it goes on
        assert len(it.said) == 4


@played
async def test_regenerate() -> None:
    async with client(settings={"temperature": 5.0}) as it:  # at 1.5 one answer in three is the same
        await it.press("ctrl+r")
        await it.told("nothing was asked yet")
        await it.say(STORY)
        answers = {it.said[1]}
        for _ in range(3):
            await it.press("ctrl+r")
            await it.finished()
            assert it.said[0] == STORY and len(it.said) == 2
            answers.add(it.said[1])
        assert len(answers) > 1
        assert it.client.store.load(it.chat.id).messages[1].content == it.said[1]


@played
async def test_editing_the_last_question() -> None:
    async with client() as it:
        await it.say("hello")
        await it.say("what is your name")
        await it.press("ctrl+g")
        await it.sees("changing the last question")
        prompt = it.client.chat_screen.query_one(PromptArea)
        assert prompt.text == "what is your name"
        await it.press("escape")
        assert prompt.text == "" and len(it.said) == 4
        await it.type("draft")
        await it.press("ctrl+g", "ctrl+g", "escape")
        assert prompt.text == "draft"  # what was being written comes back
        await it.press("ctrl+g")
        await it.say(" again")
        assert prompt.text == "draft"
        assert it.said[2] == "what is your name again" and len(it.said) == 4
        stored = it.client.store.load(it.chat.id).messages
        assert [m.content for m in stored] == it.said


@played
async def test_several_lines_and_history() -> None:
    async with client() as it:
        prompt = it.client.chat_screen.query_one(PromptArea)
        await it.type("one")
        await it.press("ctrl+j")
        await it.type("two")
        assert prompt.text == "one\ntwo"
        await it.press("enter")
        await it.finished()
        assert it.said[0] == "one\ntwo"
        await it.say("three")
        await it.type("draft")
        await it.press("up")
        assert prompt.text == "three"
        await it.press("up")
        assert prompt.text == "one\ntwo"
        await it.press("down", "down")
        assert prompt.text == "draft"
        await it.press("enter")
        await it.finished()
        await it.press("enter")  # nothing to say, nothing said
        assert len(it.said) == 6


@played
async def test_conversations() -> None:
    async with client() as it:
        await it.say("hello")
        await it.press("ctrl+n")
        await it.sees("new conversation")
        await it.say(STORY)
        await it.press("ctrl+o")
        await it.sees("Conversations", "hello", STORY)
        await it.type("nice to")
        found = it.client.screen.query_one(OptionList)
        await it.until(lambda: found.option_count == 1, "the search found another number")
        await it.press("ctrl+r")
        await it.sees("The new title")
        it.client.screen.query_one(Input).value = "[red]Greetings[/]"
        await it.press("enter")
        await it.sees("[red]Greetings[/]")  # no markup
        await it.press("enter")
        await it.sees("rbe · the demo · [red]Greetings[/]")
        assert it.said[0] == "hello"
        await it.say("how are you?")  # and it goes on
        assert len(it.said) == 4
        await it.press("ctrl+o")
        await it.sees("Conversations")
        await it.press("ctrl+d")
        await it.sees("Delete “[red]Greetings[/]”, 4 messages?")
        await it.press("escape")
        await it.press("ctrl+d")
        await it.sees("Delete “[red]Greetings[/]”, 4 messages?")
        await it.press("y")
        await it.until(lambda: len(it.client.store.list()) == 1, "it was not deleted")
        await it.press("escape")
        await it.sees("new conversation")
        assert it.said == []


@played
async def test_a_restart_goes_on_with_the_latest_conversation(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store) as it:
            await it.say("hello")
            first = it.said
        async with client(store=store) as it:
            await it.sees("rbe · the demo · hello", first[1][:40])
            assert it.said == first
        async with client(store=store, new=True) as it:
            await it.sees("new conversation")
            await it.press("ctrl+o")
            await it.sees("hello")


@played
async def test_settings_hold_from_the_next_answer_on() -> None:
    async with client() as it:
        await it.say("hello")
        await it.press("f2")
        await it.sees("Settings", "Temperature", "Threads")
        screen = it.client.screen
        screen.query_one("#top_p", Input).value = "7"
        await it.press("ctrl+s")
        await it.sees("top_p must be above 0")
        screen.query_one("#top_p", Input).value = "0.5"
        screen.query_one("#threads", Input).value = "many"
        await it.press("ctrl+s")
        await it.sees("Threads: this is no number")
        screen.query_one("#threads", Input).value = "1"
        screen.query_one("#context", Input).value = "300"
        screen.query_one("#max_tokens", Input).value = "3"
        screen.query_one("#system", TextArea).text = "You are brief."
        await it.press("ctrl+s")
        await it.told("it holds from the next answer on")
        await it.until(lambda: it.client.engine.loaded and it.client.engine.loaded.context == 300, "no new context")
        await it.told("the context holds 300 tokens now, threads: 1")
        await it.sees("context 0/300")  # what was read is read again
        assert it.client.engine.loaded is not None and it.client.engine.loaded.threads == 1
        await it.say(STORY)
        assert len(it.said[3].split()) <= 3
        await it.sees("Cut here: the answer reached its longest. F8 goes on")
        assert it.client.store.load(it.chat.id).system == "You are brief."
        kept = it.client.store.settings()
        assert (kept["top_p"], kept["max_tokens"], kept["system"]) == (0.5, 3, "You are brief.")


@played
async def test_settings_while_an_answer_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Generation.__next__

    def slowly(generation: Generation) -> str:
        time.sleep(0.005)  # a state of more than 500 tokens would not fit, however busy the machine is
        return given(generation)

    monkeypatch.setattr(Generation, "__next__", slowly)
    async with client(**ENDLESS, states=tmp_path) as it:
        it.ask(STORY)
        await it.until(lambda: it.position > 40, "no answer")
        it.client.action_settings()
        await it.until(lambda: it.client.screen.query("#context"), "no settings")
        it.client.screen.query_one("#context", Input).value = "500"
        it.client.screen.action_save()
        await it.told("the answer that is being given goes on as it began")
        it.client.engine.stop()
        await it.told("the context holds 500 tokens now")
        assert it.client.engine.loaded is not None and it.client.engine.loaded.context == 500
        assert it.said[1].strip() and it.chat.n_unsaved == 0
        await it.until(lambda: "/500" in it.text() and "context 0/" not in it.text(), "the state was not taken over")


@played
async def test_flags_hold_for_this_run_alone() -> None:
    async with client(settings={"temperature": 0.25, "context": 256}) as it:
        await it.press("ctrl+t", "f2")
        await it.sees("Settings")
        it.client.screen.query_one("#top_k", Input).value = "7"
        await it.press("ctrl+s")
        await it.told("it holds from the next answer on")
        assert it.client.settings.temperature == 0.25
        assert it.client.store.settings() == {"theme": it.client.theme, "top_k": 7}


@played
async def test_a_context_that_cannot_be_had_changes_nothing() -> None:
    async with client() as it:
        before = it.client.engine.loaded
        await it.press("f2")
        await it.sees("Settings")
        it.client.screen.query_one("#context", Input).value = str(2**31 - 1)
        await it.press("ctrl+s")
        await it.told("it stays as it was")
        assert it.client.engine.loaded == before and it.client.settings.context == 0
        await it.say("hello")
        assert len(it.said) == 2


@played
async def test_a_full_context_is_told() -> None:
    async with client(settings={"context": 128}) as it:
        for _ in range(4):
            await it.say(STORY)
        await it.sees("no longer sees the oldest")
        assert len(it.said) == 8 and it.chat.n_forgotten > 0


@played
async def test_copy_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with client() as it:
        await it.press("f6")
        await it.told("no answer to copy")
        await it.press("f5")
        await it.told("nothing to export")
        await it.say("hello")
        await it.press("f6")
        assert it.client.clipboard == it.said[1]
        await it.press("f5")
        await it.sees("Export to")
        await it.press("enter")
        await it.told("exported to")
        assert it.said[1] in (tmp_path / "hello.md").read_text()
        for name, told in [("hello.md", "exists already"), ("hello.json", "exported to"), ("a\0.md", "null")]:
            await it.press("f5")
            await it.sees("Export to")
            assert it.client.screen.query_one(Input).value.endswith("hello-2.md")
            it.client.screen.query_one(Input).value = name
            await it.press("enter")
            await it.told(told)
        assert json.loads((tmp_path / "hello.json").read_text())["messages"][1]["content"] == it.said[1]


@played
async def test_themes_palette_and_plots() -> None:
    async with client() as it:
        assert it.client.current_theme.dark
        await it.press("ctrl+t")
        await it.until(lambda: not it.client.current_theme.dark, "it stayed dark")
        await it.until(lambda: it.client.store.settings().get("theme") == it.client.theme, "the theme was not kept")
        it.client.theme = "nord"  # as the palette does
        await it.until(lambda: it.client.store.settings().get("theme") == "nord", "the theme was not kept")
        await it.press("ctrl+p")
        await it.sees("Search for commands")
        await it.type("plots")
        await it.sees("Tokens/s and temperature")
        await it.press("enter", "enter")
        await it.until(lambda: it.client.chat_screen.query_one(Meters).has_class("shown"), "no plots")
        await it.say(STORY)
        assert it.client.chat_screen.query_one("#rate-plot", Plot).query_one("Sparkline").data  # type: ignore[attr-defined]


@played
async def test_the_mouse() -> None:
    store = ConversationStore(None)
    one = store.new("long")
    turns = [StoredMessage("user", "q"), StoredMessage("assistant", "a")]
    store.write(one, 0, [StoredMessage(m.role, f"{m.content}{i}") for i in range(40) for m in turns])
    async with client(store=store) as it:
        await it.sees("rbe · the demo · long", "a39")
        transcript = it.client.chat_screen.query_one("#transcript")
        assert transcript.max_scroll_y > 0
        await it.press("pageup")
        await it.until(lambda: transcript.scroll_y < transcript.max_scroll_y, "it did not scroll")
        transcript.scroll_home(animate=False)
        await it.sees("Show 50 older messages")
        await it.pilot.click("#older")
        await it.until(lambda: len(it.client.chat_screen.query(".message")) == 60, "no older messages")
        await it.press("f1")
        await it.sees("Ctrl+G", "leave")


@played
async def test_the_window_changes_while_it_answers() -> None:
    async with client(**ENDLESS) as it:
        prompt = it.client.chat_screen.query_one(PromptArea)
        it.ask(STORY)
        await it.until(lambda: it.position > 20, "no answer")
        for size in ((60, 20), (30, 8), (120, 40), (80, 24)):
            await it.pilot.resize_terminal(*size)
            await it.until(lambda size=size: it.client.size == size, "the window stayed")
            await it.until(
                lambda size=size: prompt.region.bottom <= size[1] and prompt.region.right <= size[0],
                "there is no room to write",
            )
        await it.press("escape")
        await it.finished()
        assert len(it.said) == 2 and it.said[1].split()[-1] in it.text()


@played
async def test_leaving_while_it_answers(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store, **ENDLESS) as it:
            it.ask(STORY)
            await it.until(lambda: it.position > 40, "no answer")
            it.client.simulate_key("ctrl+q")
            await it.until(lambda: not it.client.is_running, "it did not leave")
        assert [m.role for m in store.load(store.list()[0].id).messages] == ["user", "assistant"]


@played
async def test_a_conversation_that_could_not_be_deleted_stays(tmp_path: Path) -> None:
    """The store refuses: a message says why, and the conversation on the screen, its state and its text are kept."""
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store, states=tmp_path / "states") as it:
            await it.say("hello")
            said, here = it.said, it.chat.id
            await it.press("ctrl+n")  # which keeps the state
            state = tmp_path / "states" / f"{here}.state"
            await it.until(lambda: not it.said and state.exists(), "the state was not kept")
            other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
            store._connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
            other.execute("BEGIN IMMEDIATE")
            await it.press("ctrl+o")
            await it.sees("hello")
            await it.press("ctrl+d")
            await it.sees("Delete “hello”, 2 messages?")
            await it.press("y")
            await it.told("another program is writing to it")
            await it.press("enter")
            await it.until(lambda: it.said == said, "the conversation was not opened")
            assert state.exists()
            other.execute("ROLLBACK")
            other.close()
        assert [summary.id for summary in store.list()] == [here]
