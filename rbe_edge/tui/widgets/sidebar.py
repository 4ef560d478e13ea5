"""The conversations, beside the one that is open."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rbe_edge.store.conversations import Summary
from rbe_edge.terminal_text import one_line

#: As many as a person scrolls through; Ctrl+O searches all.
MOST = 200


class Sidebar(Vertical):
    """Posts Chosen."""

    class Chosen(Message):
        """conversation: its id."""

        def __init__(self, conversation: int) -> None:
            super().__init__()
            self.conversation = conversation

    def __init__(self) -> None:
        super().__init__(id="sidebar")
        self._ids: list[int] = []
        self._titles: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static("Conversations", classes="heading")
        yield OptionList(id="chats", markup=False, compact=True)

    def show(self, found: Sequence[Summary], here: int | None) -> None:
        """here: the one that is open, None where it is not stored yet."""
        ids = [summary.id for summary in found]
        titles = [f"{'•' if summary.id == here else ' '} {one_line(summary.title, 60)}" for summary in found]
        if (ids, titles) == (self._ids, self._titles):
            return
        chats = self.query_one("#chats", OptionList)
        at = chats.highlighted
        chosen = self._ids[at] if at is not None and chats.has_focus else here
        self._ids, self._titles = ids, titles
        chats.clear_options()
        chats.add_options([Option(Content(title)) for title in titles])
        chats.highlighted = ids.index(chosen) if chosen in ids else None

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._ids[event.option_index]))
