"""What was said, as a column of messages that scrolls."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from rbe_edge.store.stored_message import Attached, StoredMessage
from rbe_edge.terminal_text import one_line, printable
from rbe_edge.tui.attachments import parts
from rbe_edge.tui.widgets.safe_markdown import SafeMarkdown
from rbe_edge.tui.widgets.welcome import Welcome

_SHOWN = 30  # messages on the screen at first; each is some dozen widgets
_MOST_SHOWN_CHARACTERS = 40_000  # of one message
_SHARE = 0.2  # of the event loop's time that showing an answer may take while it grows


class Note(Static):
    """A line of the client's own between the messages."""

    def __init__(self, text: str) -> None:
        super().__init__(Content(printable(text)), classes="note")


class Said(Vertical):
    """What the person said: plain text, never markup."""

    def __init__(self, message: StoredMessage) -> None:
        super().__init__(classes="message said")
        self._written = parts(message)

    def compose(self) -> ComposeResult:
        yield Static("You", classes="who", markup=False)
        yield Static(Content(shown(self._written.said)))
        if self._written.attached:
            yield Static(Content(" ").join(_chip(attached) for attached in self._written.attached), classes="chips")


def _chip(attached: Attached) -> Content:
    text = f" {one_line(attached.name, 40)} · {attached.n_characters:,} characters "
    return Content(text).stylize("$text on $secondary-muted")


class Answer(Vertical):
    """What the model said, as Markdown; grows while it is generated."""

    def __init__(self, name: str, text: str = "", place: str = "") -> None:
        """place: which of the answers to its question this is, such as 2/3; "" where it is the only one."""
        super().__init__(classes="message answer")
        self._model_name = name
        self._place = place
        self._text = text
        self._waiting: list[str] = []
        self._n_shown = len(text)
        self._not_before = 0.0

    def compose(self) -> ComposeResult:
        yield Static(self._who(), classes="who")
        yield SafeMarkdown(shown(self._text))

    def _who(self) -> Content:
        name = Content(printable(self._model_name))
        return name + Content(f"  {self._place}") if self._place else name

    def place(self, place: str) -> None:
        """Which of the answers to its question this is."""
        self._place = place
        self.query_one(".who", Static).update(self._who())

    async def append(self, text: str, *, now: bool = False) -> None:
        """More of the answer. Shown at once, or with the next piece where showing takes long; `now`: all of it."""
        if text:
            self._waiting.append(text)
        if not self._waiting or (not now and time.monotonic() < self._not_before):
            return
        more = "".join(self._waiting)
        self._waiting.clear()
        room = _MOST_SHOWN_CHARACTERS - self._n_shown
        if room <= 0:
            return
        self._n_shown += len(more)
        began = time.monotonic()
        await self.query_one(SafeMarkdown).append(printable(more[:room]) + (_CUT if len(more) > room else ""))
        ended = time.monotonic()
        self._not_before = ended + (ended - began) * (1 / _SHARE - 1)


_CUT = "\n\n[the rest is not shown here; an export holds it]"


def shown(text: str) -> str:
    """As much of a message as the screen can bear, safe to show."""
    text, rest = text[:_MOST_SHOWN_CHARACTERS], len(text) > _MOST_SHOWN_CHARACTERS
    return printable(text) + _CUT * rest


def place_of(message: StoredMessage) -> str:
    """Which of the answers to its question it is, for people."""
    return f"{message.chosen + 1}/{len(message.answers)}" if message.answers else ""


class Transcript(VerticalScroll, can_focus=True):
    """The messages of the open conversation. It stays at the end while that grows, unless it was scrolled."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._model_name = ""
        self._older: list[StoredMessage] = []

    async def show(self, messages: Sequence[StoredMessage], name: str, welcome: Welcome) -> None:
        """Another conversation. name: of the model. welcome: what stands here before anything is said."""
        self._model_name = name
        self._older = list(messages[:-_SHOWN])
        await self.remove_children()
        if not messages:
            await self.mount(welcome)
        await self.mount_all([*self._button(), *map(self._view, messages[-_SHOWN:])])
        self.anchor()

    def _button(self) -> list[Button]:
        return [Button(f"Show {len(self._older)} older messages", id="older", compact=True)] if self._older else []

    def _view(self, message: StoredMessage) -> Said | Answer:
        return Said(message) if message.role == "user" else Answer(self._model_name, message.content, place_of(message))

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        more, self._older = self._older[-_SHOWN:], self._older[:-_SHOWN]
        await event.button.remove()
        await self.mount_all([*self._button(), *map(self._view, more)], before=0)

    async def say(self, message: StoredMessage) -> None:
        """A message of the person."""
        await self.query(Welcome).remove()
        await self.mount(Said(message))
        self.anchor()

    async def begin_answer(self) -> Answer:
        answer = Answer(self._model_name)
        await self.mount(answer)
        return answer

    async def go_on(self) -> Answer:
        """The last answer, which grows again; the notes behind it go."""
        await self.take_back(0)
        last = self.children[-1] if self.children else None
        return last if isinstance(last, Answer) else await self.begin_answer()

    async def put(self, message: StoredMessage) -> None:
        """Another answer in the place of the last one, and of what was noted of that."""
        await self.take_back(1)
        await self.add(message)

    async def add(self, message: StoredMessage) -> None:
        await self.mount(self._view(message))
        self.anchor()

    async def note(self, text: str) -> None:
        await self.mount(Note(text))

    async def take_back(self, n_messages: int) -> None:
        """Removes the last so many messages, and the notes after the first of them; for 0 the notes at the end."""
        views = list(self.children)
        while views and (n_messages or isinstance(views[-1], Note)):
            view = views.pop()
            is_message = isinstance(view, Said | Answer)
            n_messages -= is_message
            await view.remove()
            if is_message and not n_messages:
                return
