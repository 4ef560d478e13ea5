"""The conversation: what was said, where to write, how the device fares."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import Worker, WorkerError

from rbe_edge.runtime.terminal_text import one_line
from rbe_edge.store.conversations import StoredMessage, StoreError
from rbe_edge.tui.engine import Feed, Question, answered, model_key
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.widgets.prompt_area import MOST_CHARACTERS, PromptArea
from rbe_edge.tui.widgets.status import Meters, StatusLine, status_text
from rbe_edge.tui.widgets.transcript import Answer, Transcript

if TYPE_CHECKING:
    from rbe_edge.tui.client import Client

_FLUSH_S = 0.05  # pieces are shown together, so that drawing leaves time for typing
_STATUS_S = 0.5
_AUTOSAVE_S = 5.0  # a long answer is stored while it grows


class ChatScreen(Screen[None]):
    """One conversation at a time. The engine works elsewhere; this screen only collects what it says."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", priority=True, key_display="Esc"),
        Binding("ctrl+n", "app.new", "New", priority=True),
        Binding("ctrl+o", "app.conversations", "Chats", priority=True),
        Binding("ctrl+r", "regenerate", "Again", priority=True),
        Binding("ctrl+g", "edit", "Edit", priority=True),
        Binding("f1", "app.keys", "Keys", priority=True),
        Binding("f2", "app.settings", "Settings", priority=True),
        Binding("f3", "app.models", "Model", priority=True),
        Binding("f4", "meters", "Plots", show=False, priority=True),
        Binding("f5", "app.export", "Export", show=False, priority=True),
        Binding("f6", "copy", "Copy", show=False, priority=True),
        Binding("pageup", "scroll(-1)", "Scroll up", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "Scroll down", show=False, priority=True),
    ]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.chat = OpenChat(client.store)
        self._feed: Feed | None = None
        self._answering: Worker[None] | None = None
        self._editing: int | None = None  # the position of the question that is being changed
        self._draft = ""  # what was being written when that began
        self._rate = 0.0
        self._position = 0

    def compose(self) -> ComposeResult:
        yield Static("", id="title", markup=False)
        yield Transcript(id="transcript")
        yield Meters(id="meters")
        yield PromptArea(id="prompt")
        yield StatusLine("", id="status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(PromptArea).focus()
        self.set_interval(_STATUS_S, self.show_status)

    # ---- what is shown ----

    @property
    def busy(self) -> bool:
        """Whether an answer is being given."""
        return self._answering is not None and not self._answering.is_finished

    async def show(self, chat: OpenChat, position: int = 0) -> None:
        """Another conversation. The one before must have settled. position: tokens of it that the engine holds."""
        self.chat = chat
        self._leave_edit()
        self._position = position
        await self.query_one(Transcript).show(chat.messages, self._model_name)
        self._remember()
        self.show_title()
        self.show_status()

    def holds(self, position: int) -> None:
        """So many tokens of the conversation are in the engine's context now."""
        self._position = position
        self.show_status()

    def show_title(self) -> None:
        title = one_line(self.chat.title, 48) or "new conversation"
        self.query_one("#title", Static).update(Content(f"rbe · {one_line(self._model_name, 24)} · {title}"))

    @property
    def _model_name(self) -> str:
        loaded = self.client.engine.loaded
        return loaded.name if loaded is not None else "no model"

    def show_status(self) -> None:
        """The status line; while an answer grows, with what the engine does."""
        loaded, feed, readings = self.client.engine.loaded, self._feed, self.client.readings
        doing, rate, position = "", self._rate, self._position
        if feed is not None:
            position = feed.position or position
            rate = feed.tokens_per_second
            done, total = feed.prompt
            if feed.stopped:
                doing = "stopping"
            elif not feed.position:
                doing = f"reading {done}/{total}" if total else "reading"
            else:
                doing = "answering"
            if rate:
                self.query_one(Meters).add_rate(rate)
        status = self.query_one(StatusLine)
        text = status_text(
            rate=rate,
            position=position,
            context=loaded.context if loaded is not None else 0,
            readings=readings,
            width=status.content_size.width,
            doing=doing or self.client.doing,
            unsaved=bool(self.client.warning) or bool(self.chat.n_unsaved and not self.busy),
        )
        status.show(text)

    def _remember(self) -> None:
        said = [message.content for message in self.chat.messages if message.role == "user"]
        self.query_one(PromptArea).remember(said[-200:])

    async def _note(self, text: str) -> None:
        await self.query_one(Transcript).note(text)

    # ---- asking and answering ----

    @on(PromptArea.Submitted)
    async def _submitted(self, event: PromptArea.Submitted) -> None:
        if self.busy:
            self.client.tell("an answer is being given; Escape stops it")
            return
        if self.client.engine.loaded is None:
            self.client.tell("no model is open; F3 chooses one", severity="warning")
            return
        text = self.query_one(PromptArea).take()
        if self._editing is not None:
            await self._take_back(self._editing)
            self._leave_edit()
        await self.ask(text)

    @on(PromptArea.Refused)
    def _refused(self, event: PromptArea.Refused) -> None:
        self.client.tell(
            f"the text has {event.n_characters:,} characters, a message at most {MOST_CHARACTERS:,}; "
            "nothing was taken: shorten it",
            severity="error",
        )

    async def ask(self, text: str) -> None:
        """Says it, and begins the answer."""
        loaded = self.client.engine.loaded
        if loaded is not None:
            self.chat.goes_on_with(model_key(loaded.path))  # the model that it was with may be gone
        self.chat.add("user", text)
        await self.query_one(Transcript).say(text)
        self._remember()
        self.show_title()
        self._begin()

    def _begin(self) -> None:
        self._feed = Feed()
        self._answering = self.run_worker(self._answer(self._feed))

    async def _answer(self, feed: Feed) -> None:
        """From the last question to the end of its answer, whatever comes between."""
        chat, transcript = self.chat, self.query_one(Transcript)
        asked = chat.last_question()
        assert asked is not None
        loaded = self.client.engine.loaded
        assert loaded is not None
        view = await transcript.begin_answer()
        ended = asyncio.Event()
        growing = asyncio.create_task(self._grow(view, feed, chat, ended))
        await self.save()
        seen = answered(chat.messages[chat.n_forgotten : asked])
        question = Question(
            text=chat.messages[asked].content,
            history=seen,
            system=chat.system,
            options=self.client.settings.generation(
                self.client.base_generation, demo=loaded.path is None, new_seed=secrets.randbits(32)
            ),
        )
        try:
            outcome = await self.client.engine.answer(question, feed)
        finally:
            ended.set()
            self._feed = None
        await growing
        await view.append(feed.take(), now=True)
        chat.say(outcome.text)
        if not outcome.text.strip():
            await view.remove()
        self._rate = outcome.statistics.tokens_per_second if outcome.statistics is not None else 0.0
        self._position = feed.position
        if self._rate:
            self.query_one(Meters).add_rate(self._rate)
        if outcome.n_forgotten:
            chat.n_forgotten += _position_after(chat.messages[chat.n_forgotten : asked], outcome.n_forgotten)
            await self._note("The context is full: the model no longer sees the oldest messages. F2 makes it larger.")
        if outcome.error is not None:
            await self._note(str(outcome.error))
        elif feed.stopped:
            await self._note("Stopped. Ctrl+R asks again, Ctrl+G changes the question.")
        elif not outcome.text.strip():
            await self._note("The model said nothing. Ctrl+R asks again.")
        elif outcome.statistics is not None and outcome.statistics.finish in ("context", "length"):
            what = "context is full" if outcome.statistics.finish == "context" else "answer reached its longest"
            await self._note(f"Cut here: the {what}. F2 changes it.")
        await self.save()
        self.show_status()

    async def _grow(self, view: Answer, feed: Feed, chat: OpenChat, ended: asyncio.Event) -> None:
        """Shows what comes, some times a second; now and then stores it."""
        said: list[str] = []
        saved_at = time.monotonic()
        while not ended.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _FLUSH_S)
            piece = feed.take()
            said.append(piece)
            await view.append(piece)
            if time.monotonic() - saved_at > _AUTOSAVE_S:
                chat.say("".join(said))
                await self.save()
                saved_at = time.monotonic()

    async def save(self) -> None:
        """Stores the conversation; where that fails, the person is told, and what was said stays here."""
        try:
            if await self.chat.save():
                self.client.tell("another window went on with this conversation; this one is kept beside it", timeout=8)
        except StoreError as error:
            self.client.tell(str(error), severity="error", timeout=15)

    async def settle(self) -> None:
        """Stops the answer, and waits for its end."""
        if self.busy:
            assert self._answering is not None
            self.client.engine.stop()
            with suppress(WorkerError):
                await self._answering.wait()

    # ---- keys ----

    def action_stop(self) -> None:
        """Stops the answer; else leaves the changing of a question; else brings the eye back to the prompt."""
        if self.busy:
            self.client.engine.stop()
            self.show_status()
        elif self._editing is not None:
            self._leave_edit()
        else:
            self.query_one(PromptArea).focus()

    async def action_regenerate(self) -> None:
        asked = self.chat.last_question()
        if self.busy or asked is None or self.client.engine.loaded is None:
            self.client.tell("an answer is being given; Escape stops it" if self.busy else "nothing was asked yet")
            return
        self._leave_edit()
        await self._take_back(asked + 1)
        self._begin()

    def action_edit(self) -> None:
        asked = self.chat.last_question()
        if self.busy or asked is None:
            self.client.tell("an answer is being given; Escape stops it" if self.busy else "nothing was asked yet")
            return
        prompt = self.query_one(PromptArea)
        if self._editing is None:
            self._draft = prompt.text
        self._editing = asked
        prompt.text = self.chat.messages[asked].content
        prompt.move_cursor(prompt.document.end)
        prompt.add_class("editing")
        prompt.border_title = "changing the last question; Escape leaves it"
        prompt.focus()

    def _leave_edit(self) -> None:
        """Back to what was being written before."""
        if self._editing is None:
            return
        self._editing = None
        prompt = self.query_one(PromptArea)
        prompt.text, self._draft = self._draft, ""
        prompt.move_cursor(prompt.document.end)
        prompt.remove_class("editing")
        prompt.border_title = None

    async def _take_back(self, position: int) -> None:
        gone = self.chat.cut(position)
        await self.query_one(Transcript).take_back(len(gone))

    def action_copy(self) -> None:
        answer = self.chat.last_answer()
        if answer is None:
            self.client.tell("there is no answer to copy yet")
        else:
            self.app.copy_to_clipboard(answer)
            self.client.tell("the answer is copied")

    def action_meters(self) -> None:
        self.query_one(Meters).toggle_class("shown")

    def action_scroll(self, direction: int) -> None:
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.scroll_page_up()
        else:
            transcript.scroll_page_down()

    def export_name(self, directory: Path) -> Path:
        from rbe_edge.store.export import suggested_name

        return directory / f"{suggested_name(self.chat.title)}.md"


def _position_after(messages: list[StoredMessage], n_answered: int) -> int:
    """How many of the messages hold the first so many of those that were answered."""
    position = count = 0
    while position < len(messages) and count < n_answered:
        pair = [message.role for message in messages[position : position + 2]] == ["user", "assistant"]
        position, count = (position + 2, count + 2) if pair else (position + 1, count)
    return position
