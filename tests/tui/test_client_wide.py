"""A new conversation, and what a wide terminal has room for."""

from __future__ import annotations

from pathlib import Path

from driving import client, played
from textual.widgets import OptionList

from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui.rates import Rates
from rbe_edge.tui.widgets.prompt_area import PromptArea
from rbe_edge.tui.widgets.sidebar import Sidebar
from rbe_edge.tui.widgets.welcome import Welcome

WIDE = (140, 40)


@played
async def test_a_new_conversation_tells_of_the_model_and_what_to_try() -> None:
    async with client() as it:
        loaded = it.client.engine.loaded
        assert loaded is not None
        await it.sees(f"{loaded.info.bits_per_weight:.2f} bits each", "context 1024 tokens", "2 tell me a story")
        assert "last time" not in it.text()
        await it.type("2")
        await it.press("enter")
        await it.finished()
        assert it.said[0] == "tell me a story" and not it.client.screen.query(Welcome)
        await it.type("2")  # which is something to say by now
        await it.press("enter")
        await it.finished()
        assert it.said[2] == "2"
        await it.press("ctrl+n")
        await it.sees("last time")
        it.client.screen.query_one("#tries").focus()
        await it.press("1")
        await it.finished()
        assert it.said[0] == "hello"
        await it.press("ctrl+n")
        it.client.screen.query_one("#tries").focus()
        await it.press("down", "down", "enter")
        await it.finished()
        assert it.said[0] == "what can you do?"


@played
async def test_the_speed_is_known_after_a_restart(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store) as it:
            await it.say("tell me a story")
            rate = it.client.chat_screen.rate
            await it.until(lambda: store.settings().get("rates"), "the speed was not kept")
        async with client(store=store, new=True) as it:
            await it.sees(f"{rate:.0f} tokens/s last time")


def test_rates() -> None:
    rates = Rates.of({"a": 1, "b": -1, "c": True, "d": "x", "e": 2.5, "f": float("inf")})
    assert rates.as_dict() == {"a": 1.0, "e": 2.5} and Rates.of([1]).as_dict() == {}
    for number in range(200):
        rates = rates.with_rate(f"m{number}", 3.0)
    assert len(rates.as_dict()) == 100 and rates.of_model("m199") == 3.0 and rates.of_model("a") == 0.0


@played
async def test_conversations_beside_the_open_one() -> None:
    async with client(size=WIDE) as it:
        screen = it.client.chat_screen
        chats = screen.query_one("#chats", OptionList)
        assert chats.option_count == 0 and chats.region.width > 0
        await it.say("hello")
        await it.until(lambda: chats.option_count == 1, "the new conversation is not in the list")
        await it.sees("• hello")
        first = it.chat.id
        await it.press("ctrl+n")
        await it.say("tell me a story")
        await it.until(lambda: chats.option_count == 2, "the new conversation is not in the list")
        while screen.focused is not chats:
            await it.press("tab")
        await it.press("down", "enter")
        await it.until(lambda: it.chat.id == first, "the conversation was not opened")
        assert isinstance(screen.focused, PromptArea)
        await it.press("ctrl+o", "ctrl+r")
        await it.sees("The new title")
        await it.type("another")
        await it.press("enter", "escape")
        await it.sees("Conversations another • hello")
        await it.press("ctrl+o", "ctrl+d", "y", "escape")
        await it.until(lambda: chats.option_count == 1, "a deleted conversation is in the list")


@played
async def test_conversations_are_switched_one_after_the_other() -> None:
    store = ConversationStore(None)
    ids = [store.new(f"title {number}") for number in range(6)]
    for number in ids:
        store.write(number, 0, [StoredMessage("user", f"q{number}"), StoredMessage("assistant", f"a{number}")])
    last = ids[2]  # which is not open at the start, nor in between
    others = [number for number in ids if number != last]
    async with client(size=WIDE, store=store) as it:
        screen = it.client.chat_screen
        for number in (*others, others[0], others[3]):  # faster than they open
            screen.post_message(Sidebar.Chosen(number))
        screen.action_want("new")
        screen.post_message(Sidebar.Chosen(last))
        await it.until(lambda: it.chat.id == last, "it was not opened")
        await it.sees(f"q{last}", f"a{last}")
        await it.settled()
        assert it.chat.id == last and len(screen.query(".message")) == 2


@played
async def test_the_list_is_hidden_and_stays_so() -> None:
    store = ConversationStore(None)
    async with client(size=WIDE, store=store) as it:
        chats = it.client.chat_screen.query_one("#chats")
        await it.press("ctrl+b")
        assert chats.region.width == 0 and store.settings()["sidebar"] is False
        async with client(size=WIDE, store=store) as again:
            assert again.client.chat_screen.query_one("#chats").region.width == 0
            await again.press("ctrl+b")
            assert again.client.chat_screen.query_one("#chats").region.width > 0
        await it.pilot.resize_terminal(100, 30)
        await it.press("ctrl+b")
        await it.told("needs 120 columns")


@played
async def test_prose_is_at_most_100_columns_wide() -> None:
    store = ConversationStore(None)
    prose, code = "word " * 100, "x = '" + "y" * 120 + "'"
    answer = f"{prose}\n\n```python\n{code}\n```"
    store.write(store.new("m"), 0, [StoredMessage("user", prose), StoredMessage("assistant", answer)])
    async with client(store=store, size=(200, 60)) as it:
        await it.sees(code)
        lines = [line[36:].rstrip() for line in it.lines() if "word word" in line]
        assert len(lines) >= 10 and all(len(line) <= 104 for line in lines)
