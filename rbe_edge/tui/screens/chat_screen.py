"""The conversation: what was said, where to write, how the device fares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from rbe_edge.machine.power import Mode
from rbe_edge.machine.sensors import Readings
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import StoreError
from rbe_edge.terminal_text import one_line
from rbe_edge.tui.engine import Engine, Loaded
from rbe_edge.tui.messages import WANTED, ConversationWanted, SidebarWanted
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.screens.asking import AskingScreen
from rbe_edge.tui.widgets.composer import Composer
from rbe_edge.tui.widgets.prompt_area import PromptArea
from rbe_edge.tui.widgets.sidebar import MOST, Sidebar
from rbe_edge.tui.widgets.status import Meters, StatusLine, status_text
from rbe_edge.tui.widgets.transcript import Transcript
from rbe_edge.tui.widgets.welcome import Welcome

_STATUS_S = 0.5
_WIDE = 120  # columns, from which on the conversations are listed beside the open one


class ChatScreen(AskingScreen):
    """What is shown beside the conversation, and the keys.

    readings: of the machine, None before the first. doing: what the app is doing with the engine, for the status line.
    known_rate: tokens/s of the model's last answer in an earlier run, 0 for none. The app sets them.
    """

    AUTO_FOCUS = "#prompt"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual declares it so
        (0, "-narrow"),
        (_WIDE, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", priority=True, key_display="Esc"),
        Binding("ctrl+n", "want('new')", "New", priority=True),
        Binding("ctrl+o", "want('conversations')", "Chats", priority=True),
        Binding("ctrl+b", "sidebar", "List", show=False, priority=True),
        Binding("ctrl+r", "regenerate", "Again", priority=True),
        Binding("ctrl+g", "edit", "Edit", priority=True),
        Binding("f1", "want('keys')", "Keys", priority=True),
        Binding("f2", "want('settings')", "Settings", priority=True),
        Binding("f3", "want('models')", "Model", priority=True),
        Binding("f4", "meters", "Plots", show=False, priority=True),
        Binding("f5", "want('export')", "Export", show=False, priority=True),
        Binding("f6", "copy", "Copy", show=False, priority=True),
        Binding("f7", "want('power')", "Power", show=False, priority=True),
        Binding("f8", "go_on", "Go on", show=False, priority=True),
        Binding("alt+left", "turn_or_move(-1)", "Answer before", show=False, priority=True),
        Binding("alt+right", "turn_or_move(1)", "Next answer", show=False, priority=True),
        Binding("pageup", "scroll(-1)", "Scroll up", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "Scroll down", show=False, priority=True),
    ]

    def __init__(
        self, chat: OpenChat, engine: Engine, options: Callable[[Loaded], GenerationOptions], *, stored: bool = True
    ) -> None:
        """chat: the first conversation. options: those of an answer, asked when it begins. stored: whether the store
        of the conversations outlives the client."""
        super().__init__(chat, engine, options)
        self._stored = stored
        self.known_rate = 0.0
        self.readings: Readings | None = None
        self.doing = ""
        self._mode: Mode | None = None  # that was last shown

    def compose(self) -> ComposeResult:
        yield Static("", id="title", markup=False)
        with Horizontal(id="beside"):
            yield Sidebar()
            with Vertical():
                yield Transcript(id="transcript")
                yield Meters(id="meters")
                yield Composer()
        yield StatusLine("", id="status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(PromptArea).focus()
        self.set_interval(_STATUS_S, self.show_status)

    # ---- what is shown ----

    async def show(self, chat: OpenChat, position: int = 0) -> None:
        """Another conversation. The one before must have settled. position: tokens of it that the engine holds."""
        self.chat = chat
        self.leave_draft()
        self.holds(position)
        welcome = Welcome(self.engine.loaded, self.known_rate)
        await self.query_one(Transcript).show(chat.messages, self._model_name, welcome)
        self.show_said()
        self.list_conversations()

    @work(exclusive=True, group="sidebar")
    async def list_conversations(self) -> None:
        """Reads the list beside the conversation again; where the store cannot be read it stays as it is."""
        with suppress(StoreError):
            found = await asyncio.to_thread(self.chat.store.list, limit=MOST)
            for sidebar in self.query(Sidebar):  # none when the screen goes
                sidebar.show(found, self.chat.id)

    def show_sidebar(self, shown: bool) -> None:
        """Whether the list is there where there is room for it."""
        self.set_class(not shown, "-alone")

    @on(Sidebar.Chosen)
    def _conversation_chosen(self, event: Sidebar.Chosen) -> None:
        self.query_one(PromptArea).focus()
        if event.conversation != self.chat.id:
            self.post_message(ConversationWanted(event.conversation))

    def action_sidebar(self) -> None:
        if not self.has_class("-wide"):
            self.tell(f"the list beside the conversation needs {_WIDE} columns; Ctrl+O shows it")
        else:
            self.post_message(SidebarWanted(self.has_class("-alone")))

    def rename(self, title: str) -> None:
        """The conversation has another title."""
        self.chat.title = title
        self._show_title()
        self.list_conversations()

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
        loaded = self.engine.loaded
        return loaded.name if loaded is not None else "no model"

    def show_status(self) -> None:
        """The status line; while an answer grows, with what the engine does."""
        loaded, feed = self.engine.loaded, self.feed
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
        power = self.engine.power_state
        if power is not None:
            if self._mode not in (None, power.mode) and not power.is_override:
                self.tell(f"power mode {power}")
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

    def show_said(self) -> None:
        self.remember()
        self._show_title()

    # ---- keys ----

    def action_meters(self) -> None:
        self.query_one(Meters).toggle_class("shown")

    def action_scroll(self, direction: int) -> None:
        transcript = self.query_one(Transcript)
        if direction < 0:
            transcript.scroll_page_up()
        else:
            transcript.scroll_page_down()

    # ---- what the app is asked for ----

    def action_want(self, what: str) -> None:
        """what: a name of WANTED."""
        self.post_message(WANTED[what]())
