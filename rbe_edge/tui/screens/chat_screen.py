"""The conversation: what was said, where to write, how the device fares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import Worker, WorkerError

from rbe_edge.machine.power import Mode
from rbe_edge.machine.sensors import Readings
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import StoreError
from rbe_edge.terminal_text import one_line
from rbe_edge.tui.engine import Engine, Feed, Loaded, Outcome, Question, model_key
from rbe_edge.tui.messages import (
    ConversationsWanted,
    ExportWanted,
    KeysWanted,
    ModelsWanted,
    NewWanted,
    PowerWanted,
    SettingsWanted,
    Told,
)
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.widgets.prompt_area import MOST_CHARACTERS, PromptArea
from rbe_edge.tui.widgets.status import Meters, StatusLine, status_text
from rbe_edge.tui.widgets.transcript import Answer, Transcript

_FLUSH_S = 0.05  # pieces are shown together, so that drawing leaves time for typing
_STATUS_S = 0.5
_AUTOSAVE_S = 5.0  # a long answer is stored while it grows


class ChatScreen(Screen[None]):
    """One conversation at a time. The engine works on its own thread; this screen only collects what it says.

    readings: of the machine, None before the first. doing: what the app is doing with the engine, for the status line.
    rate: tokens/s of the last answer, 0 for none yet; joules_per_token: its energy, None where nothing measures it. The
    app sets them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", priority=True, key_display="Esc"),
        Binding("ctrl+n", "new", "New", priority=True),
        Binding("ctrl+o", "conversations", "Chats", priority=True),
        Binding("ctrl+r", "regenerate", "Again", priority=True),
        Binding("ctrl+g", "edit", "Edit", priority=True),
        Binding("f1", "keys", "Keys", priority=True),
        Binding("f2", "settings", "Settings", priority=True),
        Binding("f3", "models", "Model", priority=True),
        Binding("f4", "meters", "Plots", show=False, priority=True),
        Binding("f5", "export", "Export", show=False, priority=True),
        Binding("f6", "copy", "Copy", show=False, priority=True),
        Binding("f7", "power", "Power", show=False, priority=True),
        Binding("pageup", "scroll(-1)", "Scroll up", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "Scroll down", show=False, priority=True),
    ]

    def __init__(
        self, chat: OpenChat, engine: Engine, options: Callable[[Loaded], GenerationOptions], *, stored: bool = True
    ) -> None:
        """chat: the first conversation. options: those of an answer, asked when it begins. stored: whether the store
        of the conversations outlives the client."""
        super().__init__()
        self.chat = chat
        self._engine = engine
        self._options = options
        self._stored = stored
        self.readings: Readings | None = None
        self.doing = ""
        self.rate = 0.0
        self.joules_per_token: float | None = None
        self._feed: Feed | None = None
        self._answering: Worker[None] | None = None
        self._editing: int | None = None  # the position of the question that is being changed
        self._position = 0
        self._mode: Mode | None = None  # that was last shown

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

    @property
    def position(self) -> int:
        """Tokens of the conversation that are in the engine's context."""
        return (self._feed.position if self._feed is not None else 0) or self._position

    async def show(self, chat: OpenChat, position: int = 0) -> None:
        """Another conversation. The one before must have settled. position: tokens of it that the engine holds."""
        self.chat = chat
        self._leave_edit()
        self._position = position
        await self.query_one(Transcript).show(chat.messages, self._model_name)
        self._remember()
        self._show_title()
        self.show_status()

    def holds(self, position: int) -> None:
        """So many tokens of the conversation are in the engine's context now."""
        self._position = position
        self.show_status()

    def rename(self, title: str) -> None:
        """The conversation has another title."""
        self.chat.title = title
        self._show_title()

    def show_readings(self, readings: Readings) -> None:
        """What the machine says of itself now."""
        self.readings = readings
        for meters in self.query(Meters):  # none before the screen is there, and none when it goes
            meters.add_temperature(readings.temperature)

    def _show_title(self) -> None:
        title = one_line(self.chat.title, 48) or "new conversation"
        self.query_one("#title", Static).update(Content(f"rbe · {one_line(self._model_name, 24)} · {title}"))

    @property
    def _model_name(self) -> str:
        loaded = self._engine.loaded
        return loaded.name if loaded is not None else "no model"

    def show_status(self) -> None:
        """The status line; while an answer grows, with what the engine does."""
        loaded, feed = self._engine.loaded, self._feed
        doing, rate = "", self.rate
        if feed is not None:
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
        power = self._engine.power_state
        if power is not None:
            if self._mode not in (None, power.mode) and not power.is_override:
                self._tell(f"power mode {power}")
            self._mode = power.mode
        status = self.query_one(StatusLine)
        text = status_text(
            rate=rate,
            position=self.position,
            context=loaded.context if loaded is not None else 0,
            readings=self.readings,
            width=status.content_size.width,
            power=power,
            joules_per_token=self.joules_per_token,
            doing=doing or self.doing,
            unsaved=not self._stored or bool(self.chat.n_unsaved and not self.busy),
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
            self._tell("an answer is being given; Escape stops it")
            return
        if self._engine.loaded is None:
            self._tell("no model is open; F3 chooses one", severity="warning")
            return
        text = self.query_one(PromptArea).take()
        if self._editing is not None:
            await self._take_back(self._editing)
            self._leave_edit()
        await self.ask(text)

    @on(PromptArea.Refused)
    def _refused(self, event: PromptArea.Refused) -> None:
        self._tell(
            f"the text has {event.n_characters:,} characters, a message at most {MOST_CHARACTERS:,}; "
            "nothing was taken: shorten it",
            severity="error",
        )

    async def ask(self, text: str) -> None:
        """Says it, and begins the answer."""
        loaded = self._engine.loaded
        if loaded is not None:
            self.chat.goes_on_with(model_key(loaded.path))  # the model that it was with may be gone
        self.chat.add("user", text)
        await self.query_one(Transcript).say(text)
        self._remember()
        self._show_title()
        self._begin()

    def _begin(self) -> None:
        self._feed = Feed()
        self._answering = self.run_worker(self._answer(self._feed))

    async def _answer(self, feed: Feed) -> None:
        """From the last question to the end of its answer, whatever comes between."""
        chat = self.chat
        asked, loaded = chat.last_question(), self._engine.loaded
        assert asked is not None and loaded is not None
        view = await self.query_one(Transcript).begin_answer()
        ended = asyncio.Event()
        growing = asyncio.create_task(self._grow(view, feed, chat, ended))
        await self._store()
        question = Question(chat.messages[asked].content, chat.history(asked), chat.system, self._options(loaded))
        try:
            outcome = await self._engine.answer(question, feed)
        finally:
            ended.set()
            self._feed = None
        await growing
        await view.append(feed.take(), now=True)
        chat.say(outcome.text)
        if not outcome.text.strip():
            await view.remove()
        self.rate = outcome.statistics.tokens_per_second if outcome.statistics is not None else 0.0
        self.joules_per_token = outcome.joules_per_token
        self._position = feed.position
        if self.rate:
            self.query_one(Meters).add_rate(self.rate)
        if outcome.n_forgotten:
            chat.forget(asked, outcome.n_forgotten)
            await self._note("The context is full: the model no longer sees the oldest messages. F2 makes it larger.")
        ending = _ending(outcome, stopped=feed.stopped)
        if ending is not None:
            await self._note(ending)
        await self._store()
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
                await self._store()
                saved_at = time.monotonic()

    async def save(self) -> Told | None:
        """Stores the conversation. Returns what the person is to be told of it, where there is something; what could
        not be stored stays here."""
        try:
            if await self.chat.save():
                return Told("another window went on with this conversation; this one is kept beside it", timeout=8)
        except StoreError as error:
            return Told(str(error), "error", timeout=15)
        return None

    async def _store(self) -> None:
        """save(), and the person is told."""
        told = await self.save()
        if told is not None:
            self.post_message(told)

    async def settle(self) -> None:
        """Stops the answer, and waits for its end."""
        if self.busy:
            assert self._answering is not None
            self._engine.stop()
            with suppress(WorkerError):
                await self._answering.wait()

    # ---- keys ----

    def action_stop(self) -> None:
        """Stops the answer; else leaves the changing of a question; else brings the eye back to the prompt."""
        if self.busy:
            self._engine.stop()
            self.show_status()
        elif self._editing is not None:
            self._leave_edit()
        else:
            self.query_one(PromptArea).focus()

    async def action_regenerate(self) -> None:
        asked = self.chat.last_question()
        if self.busy or asked is None or self._engine.loaded is None:
            self._tell("an answer is being given; Escape stops it" if self.busy else "nothing was asked yet")
            return
        self._leave_edit()
        await self._take_back(asked + 1)
        self._begin()

    def action_edit(self) -> None:
        asked = self.chat.last_question()
        if self.busy or asked is None:
            self._tell("an answer is being given; Escape stops it" if self.busy else "nothing was asked yet")
            return
        self._editing = asked
        prompt = self.query_one(PromptArea)
        prompt.change(self.chat.messages[asked].content, "changing the last question; Escape leaves it")

    def _leave_edit(self) -> None:
        """Back to what was being written before."""
        if self._editing is not None:
            self._editing = None
            self.query_one(PromptArea).leave_change()

    async def _take_back(self, position: int) -> None:
        gone = self.chat.cut(position)
        await self.query_one(Transcript).take_back(len(gone))

    def action_copy(self) -> None:
        answer = self.chat.last_answer()
        if answer is None:
            self._tell("there is no answer to copy yet")
        else:
            self.app.copy_to_clipboard(answer)
            self._tell("the answer is copied")

    def action_meters(self) -> None:
        self.query_one(Meters).toggle_class("shown")

    def action_scroll(self, direction: int) -> None:
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.scroll_page_up()
        else:
            transcript.scroll_page_down()

    # ---- what the app is asked for ----

    def action_new(self) -> None:
        self.post_message(NewWanted())

    def action_conversations(self) -> None:
        self.post_message(ConversationsWanted())

    def action_keys(self) -> None:
        self.post_message(KeysWanted())

    def action_settings(self) -> None:
        self.post_message(SettingsWanted())

    def action_models(self) -> None:
        self.post_message(ModelsWanted())

    def action_power(self) -> None:
        self.post_message(PowerWanted())

    def action_export(self) -> None:
        self.post_message(ExportWanted())

    def _tell(self, text: str, severity: SeverityLevel = "information") -> None:
        self.post_message(Told(text, severity))


def _ending(outcome: Outcome, *, stopped: bool) -> str | None:
    """What a person is told of how an answer ended; None where it came to its own end."""
    if outcome.error is not None:
        return str(outcome.error)
    if stopped:
        return "Stopped. Ctrl+R asks again, Ctrl+G changes the question."
    if not outcome.text.strip():
        return "The model said nothing. Ctrl+R asks again."
    if outcome.statistics is not None and outcome.statistics.finish in ("context", "length"):
        what = "context is full" if outcome.statistics.finish == "context" else "answer reached its longest"
        return f"Cut here: the {what}. F2 changes it."
    return None
