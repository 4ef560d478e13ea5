"""Where a person writes: several lines, Enter sends, the arrow keys bring back what was said before."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from rbe_edge.terminal_text import printable
from rbe_edge.tui.attachments import dropped
from rbe_edge.tui.widgets.completions import Completion, Completions

#: Characters of one message. A longer one fits into no context that a small computer can hold.
MOST_CHARACTERS = 500_000


class PromptArea(TextArea):
    """Posts Submitted. Pasted text loses its control characters; what is too long is refused whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", show=False),
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", show=False, key_display="^j"),
        Binding("up", "earlier", "Earlier message", show=False),
        Binding("down", "later", "Later message", show=False),
    ]

    class Submitted(Message):
        """Enter was pressed, and there is a text to take()."""

    class NothingWritten(Message):
        """Enter or Up was pressed where nothing is written."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Refused(Message):
        """A text was too long."""

        def __init__(self, n_characters: int) -> None:
            super().__init__()
            self.n_characters = n_characters

    def __init__(self, completions: Completions, *, id: str) -> None:
        """completions: of what is written; the keys that choose one come here."""
        super().__init__(id=id, soft_wrap=True, tab_behavior="focus", highlight_cursor_line=False)
        self.placeholder = "Say something. Enter sends, Ctrl+J makes a new line, F1 shows the keys."
        self._completions = completions
        self._history: list[str] = []
        self._at = 0  # in the history; its length: what is being written
        self._draft = ""
        self._takes_back = False
        self._set_aside = ""  # what was being written before an earlier message is changed

    def remember(self, texts: list[str]) -> None:
        """The messages that the arrow keys bring back, oldest first."""
        self._history = texts
        self._at = len(texts)

    def write(self, text: str) -> None:
        """Puts the text here, with the cursor behind it."""
        self.text = text
        self.move_cursor(self.document.end)
        self.focus()

    def take_back(self, *, possible: bool) -> None:
        """Whether Up means a message that waits to be said, where nothing is written."""
        self._takes_back = possible

    def take(self) -> str:
        """The text, which is then gone from here."""
        text = self.text
        self.text = ""
        self._draft = ""
        return text

    def change(self, text: str, told: str) -> None:
        """Puts an earlier message here, to be changed. told: what the border says meanwhile."""
        if not self.has_class("editing"):
            self._set_aside = self.text
        self.text = text
        self.move_cursor(self.document.end)
        self.add_class("editing")
        self.border_title = told
        self.focus()

    def leave_change(self) -> None:
        """Back to what was being written before change()."""
        self.text, self._set_aside = self._set_aside, ""
        self.move_cursor(self.document.end)
        self.remove_class("editing")
        self.border_title = None

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":  # TextArea's own meaning is a new line
            event.stop()
            event.prevent_default()
            self.action_submit()
        elif event.key == "tab" and (chosen := self._chosen) is not None:
            event.stop()
            event.prevent_default()
            self.complete(chosen)

    # ---- completions ----

    @property
    def before_cursor(self) -> str:
        """What is written before the cursor."""
        return self.document.get_text_range((0, 0), self.cursor_location)

    @property
    def _chosen(self) -> Completion | None:
        return self._completions.chosen(self.before_cursor)

    def complete(self, completion: Completion, *, send: bool = False) -> None:
        """Writes what was meant. send: says it too, where it is whole then."""
        line, column = self.cursor_location
        start = (line, column - completion.replaced)
        self.replace(completion.text, start, (line, column), maintain_selection_offset=False)
        if send and completion.sends:
            self._completions.show([])
            self.post_message(self.Submitted())

    def leave_completions(self) -> bool:
        """Shows them no longer; whether there were some."""
        shown = self._chosen is not None
        self._completions.show([])
        return shown

    async def _on_paste(self, event: events.Paste) -> None:
        if len(event.text) + len(self.text) > MOST_CHARACTERS:
            event.stop()
            event.prevent_default()
            self.post_message(self.Refused(len(event.text)))
        else:
            event.text = dropped(event.text) or printable(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    def action_submit(self) -> None:
        chosen = self._chosen
        if chosen is not None and chosen.text.strip() != self.before_cursor[-chosen.replaced :]:
            self.complete(chosen, send=True)
        elif len(self.text) > MOST_CHARACTERS:
            self.post_message(self.Refused(len(self.text)))
        elif self.text.strip():
            self.post_message(self.Submitted())
        else:
            self.post_message(self.NothingWritten("enter"))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_earlier(self) -> None:
        """Within the text a line up; on its first line the message before."""
        if self._chosen is not None:
            self._completions.move(-1)
        elif not self.text and self._takes_back:
            self.post_message(self.NothingWritten("up"))
        elif self.cursor_location[0] > 0 or self._at == 0:
            self.action_cursor_up()
        else:
            if self._at == len(self._history):
                self._draft = self.text
            self._show(self._at - 1)

    def action_later(self) -> None:
        if self._chosen is not None:
            self._completions.move(1)
        elif self.cursor_location[0] < self.document.line_count - 1 or self._at == len(self._history):
            self.action_cursor_down()
        else:
            self._show(self._at + 1)

    def _show(self, at: int) -> None:
        self._at = at
        self.text = self._history[at] if at < len(self._history) else self._draft
        self.move_cursor(self.document.end)
