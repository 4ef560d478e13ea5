"""What a model, a file or a person may throw at the client: all of it ends as text on the screen, or in a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driving import Driver, client, played
from textual import events

from rbe_edge.runtime.session import Session
from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui.engine import Engine, Feed, Outcome, Question
from rbe_edge.tui.widgets.prompt_area import MOST_CHARACTERS, PromptArea

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\x1b]52;c;ZXZpbA==\x07 [red]markup[/red] [@click=app.quit]press[/]\n\n"
    "[link](https://evil.example/a) <https://evil.example/b> https://evil.example/c ![image](file:///etc/passwd)\n\n"
    "<script>alert(1)</script> <b>bold</b> &#27;[31m &#8238;backwards&#x202e; \u202egnihsihp\r\n\n"
    "[ref]: https://evil.example/d\n\n```\x1b[31m\n\x1b[2Jcode [bold]x[/]\n```\n"
)


class Parrot(Engine):
    """An engine whose model says what the test wants, a few characters at a time."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self._said = answer

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        for at in range(0, len(self._said), 7):
            feed.put(self._said[at : at + 7], at // 7 + 1)
        return Outcome(self._said, None, 0, None)


def cells(it: Driver) -> list[Any]:
    """The segments of text as they go to the terminal."""
    return [segment for strip in it.client.screen._compositor.render_strips() for segment in strip]


def check_harmless(it: Driver) -> None:
    for segment in cells(it):
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in segment.text)
        style = segment.style
        if style is not None and not it.client.screen.query("Footer"):
            assert style.link is None and "@click" not in style.meta


@played
async def test_a_hostile_answer_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    async with client(engine=Parrot(HOSTILE)) as it:
        monkeypatch.setattr(it.client, "open_url", lambda url, **_: opened.append(url))
        await it.say("\x1b[31mgo [red]on[/]")
        await it.sees(
            "markup[/red] [@click=app.quit]press[/]", "[link](https://evil.example/a)", "<script>alert(1)</script>"
        )
        await it.sees("go [red]on[/]", "[ref]: https://evil.example/d", "code [bold]x[/]")
        check_harmless(it)
        for y in range(1, 18):
            await it.pilot.click("#transcript", offset=(8, y))
        assert opened == [] and it.client.is_running
        links = [s for s in cells(it) if s.style is not None and (s.style.link or "link(" in str(s.style.meta))]
        assert links == []
        assert it.client.store.load(it.chat.id).messages[1].content == HOSTILE  # kept as it was said


@played
async def test_hostile_titles_and_names() -> None:
    store = ConversationStore(None)
    for title in ("\x1b[31m[red]x[/] \u202ey\x07", "[/]", "a\nb\tc", "x" * 10_000, ""):
        store.write(store.new(title, model="/no\x1bwhere.rbe"), 0, [StoredMessage("user", title)])
    async with client(store=store) as it:
        await it.press("ctrl+o")
        await it.sees("[31m[red]x[/] y", "[/]", "a b c", "xxxxxxxx")
        check_harmless(it)
        await it.press("enter")  # its model is not there: the message says so, and the client goes on
        await it.told("where.rbe does not exist")
        await it.told("it can go on with the demo")
        check_harmless(it)
        await it.until(lambda: it.chat.id is not None, "it was not opened")
        assert store.load(it.chat.id).model == "/no\x1bwhere.rbe"
        await it.say("hello")
        assert store.load(it.chat.id).model == "" and store.load(it.chat.id).messages[-1].role == "assistant"


@pytest.mark.parametrize(
    "answer",
    [
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 4000,
        "- x\n" * 4000,
        ">" * 4000 + "x",
        "*_`[" * 3000,
        "```python\n" + "x = [1, 'a']\n" * 3000,
        "x" * 30_000,
    ],
    ids=["table", "list", "nesting", "delimiters", "code", "word"],
)
def test_much_markup_makes_few_widgets(answer: str) -> None:
    @played
    async def flow() -> None:
        async with client(engine=Parrot(answer)) as it:
            await it.say("go")
            assert it.said[1] == answer
            assert len(it.client.screen.query("*")) < 3500

    flow()


@played
async def test_a_message_of_10_megabytes() -> None:
    async with client() as it:
        prompt = it.client.chat_screen.query_one(PromptArea)
        it.client.post_message(events.Paste("word " * 2_000_000))
        await it.told("10,000,000 characters, a message at most 500,000")
        assert prompt.text == "" and it.said == []
        it.client.post_message(events.Paste("a\x1b[2Jb\r\nc"))
        await it.until(lambda: prompt.text == "a[2Jb\nc", "the pasted text is not as it should be")
        prompt.text = ""
        it.client.post_message(events.Paste("word " * (MOST_CHARACTERS // 10)))
        await it.until(lambda: len(prompt.text) == MOST_CHARACTERS // 2, "what fits was not pasted")
        await it.press("enter")
        await it.finished()
        await it.sees("the context holds", "shorten it")
        assert len(it.said) == 1  # it is kept, and can be changed with Ctrl+G
        await it.say("hello")
        assert len(it.said) == 3


@played
async def test_a_stored_message_of_10_megabytes() -> None:
    store = ConversationStore(None)
    store.write(
        store.new("long"),
        0,
        [StoredMessage("user", "word " * 2_000_000), StoredMessage("assistant", "line\n\n" * 1_700_000)],
    )
    async with client(store=store) as it:
        await it.sees("rbe · the demo · long", "the rest is not shown here")
        await it.say("hello")
        assert len(it.said) == 4


@played
async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        async with client(store=store) as it:
            await it.say("hello")
            connection = store._connection
            assert connection is not None
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
            await it.say("tell me a story " + "about it " * 2000)
            await it.told("the disk is full")
            await it.sees("NOT SAVED")
            assert len(it.said) >= 3 and len(store.load(it.chat.id).messages) == 2
            assert len([told for told in it.client._notifications if "disk is full" in told.message]) == 1
            for key in ("ctrl+n", "ctrl+q"):  # who leaves is asked
                await it.press(key)
                await it.sees("messages of this conversation are not stored")
                await it.press("escape")
            assert len(it.said) >= 3 and it.client.is_running
            connection.execute("PRAGMA max_page_count = 100000")
            await it.say("hello again")
            assert [m.content for m in store.load(it.chat.id).messages] == it.said
            await it.until(lambda: "NOT SAVED" not in it.text(), "it still says that nothing is saved")


@played
async def test_leaving_what_cannot_be_stored(tmp_path: Path) -> None:
    async with client(warning="the conversations are damaged") as it:
        await it.sees("NOT SAVED")
        await it.say("hello")
        await it.press("ctrl+n")  # in memory it is kept
        await it.sees("It stays on this device")
        await it.say("hello again")
        await it.press("ctrl+q")
        await it.sees("2 messages of this conversation are not stored")
        await it.press("ctrl+q", "escape")  # asked once
        await it.sees("hello again")
        assert it.client.is_running and it.client.screen is it.client.chat_screen
        await it.press("ctrl+q")
        await it.sees("2 messages of this conversation are not stored")
        await it.press("y")
        await it.until(lambda: not it.client.is_running, "it did not leave")


@played
async def test_a_conversation_that_goes_on_in_another_window(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with ConversationStore(path) as store, ConversationStore(path) as other:
        async with client(store=store) as it:
            await it.say("hello")
            one = it.chat.id
            seen = other.load(one)
            theirs = [StoredMessage("user", "from there"), StoredMessage("assistant", "yes")]
            other.write(one, 2, theirs, seen.updated)
            await it.say("from here")
            await it.told("another window went on")
            assert it.chat.id != one and [m.content for m in other.load(it.chat.id).messages] == it.said
            assert other.load(one).messages == (*seen.messages, *theirs)
            await it.say("and on")
            assert len(other.list()) == 2 and len(other.load(it.chat.id).messages) == 6


@played
async def test_a_conversation_deleted_elsewhere() -> None:
    async with client() as it:
        await it.say("hello")
        it.client.store.delete(it.chat.id)
        await it.say("hello again")
        await it.told("has been deleted")
        assert len(it.said) == 4


@played
async def test_damaged_settings_are_passed_over() -> None:
    store = ConversationStore(None)
    store.save_settings(
        {"temperature": "hot", "top_p": 7, "threads": -1, "theme": "no such theme", "seed": 5, "context": True, "x": 1}
    )
    async with client(store=store) as it:
        assert it.client.settings.seed == 5 and it.client.settings.top_p == 0.95
        await it.say("hello")
