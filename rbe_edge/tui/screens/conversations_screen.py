"""The list of conversations: search, open, rename, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from rbe_edge.store.conversations import ConversationStore, StoreError, Summary
from rbe_edge.terminal_text import one_line, printable
from rbe_edge.tui.screens.dialogs import AskLine, Confirm

_MOST_SEARCHED = 200  # characters


@dataclass(frozen=True)
class Picked:
    """chosen: the id of the conversation to open, None for none. deleted: ids of those that were deleted."""

    chosen: int | None
    deleted: frozenset[int]


class ConversationsScreen(ModalScreen[Picked]):
    """Answers what was picked, also where it was left with Escape. Renames and deletes in the store itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("down", "app.focus_next", show=False),
        Binding("ctrl+r,f2", "rename", "Rename", priority=True, key_display="^r"),
        Binding("ctrl+d", "delete", "Delete", priority=True, key_display="^d"),
        Binding("delete", "delete", show=False),  # in the search it takes a letter
    ]

    def __init__(self, store: ConversationStore) -> None:
        super().__init__()
        self._store = store
        self._found: list[Summary] = []
        self._search = ""
        self._deleted: set[int] = set()

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static("Conversations", classes="heading")
            yield Input(placeholder="Search titles and messages", max_length=_MOST_SEARCHED, id="search")
            yield OptionList(id="found", markup=False)
            yield Static("", id="nothing", classes="hint")
        yield Footer()

    async def on_mount(self) -> None:
        await self._refresh()

    async def _refresh(self, keep: int = 0) -> None:
        """keep: the line that stays chosen."""
        search = self._search
        try:
            found = await asyncio.to_thread(self._store.list, search)
        except StoreError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        if search != self._search:
            return  # a later search has begun
        self._found = found
        options = self.query_one("#found", OptionList)
        options.clear_options()
        options.add_options([Option(_line(summary)) for summary in found])
        if found:
            options.highlighted = min(keep, len(found) - 1)
        nothing = "Nothing holds these words." if search else "Nothing was said yet."
        self.query_one("#nothing", Static).update("" if found else nothing)

    @on(Input.Changed)
    async def _searched(self, event: Input.Changed) -> None:
        self._search = event.value
        await self._refresh()

    @on(Input.Submitted)
    def _first(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self._leave(chosen.id)

    @on(OptionList.OptionSelected)
    def _open(self, event: OptionList.OptionSelected) -> None:
        self._leave(self._found[event.option_index].id)

    def action_leave(self) -> None:
        self._leave(None)

    def _leave(self, chosen: int | None) -> None:
        self.dismiss(Picked(chosen, frozenset(self._deleted)))

    def _chosen(self) -> Summary | None:
        at = self.query_one("#found", OptionList).highlighted
        return self._found[at] if at is not None and at < len(self._found) else None

    @work
    async def action_rename(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        title = await self.app.push_screen_wait(AskLine("The new title:", chosen.title))
        if title:
            await self._change(lambda: self._store.rename(chosen.id, title))

    @work
    async def action_delete(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        question = f"Delete “{one_line(chosen.title, 40)}”, {chosen.n_messages} messages? It cannot be brought back."
        if await self.app.push_screen_wait(Confirm(question, "Delete (y)")):
            if await self._change(lambda: self._store.delete(chosen.id)):
                self._deleted.add(chosen.id)

    async def _change(self, change: Callable[[], None]) -> bool:
        """Whether the store did it; where it refuses, a message says why."""
        at = self.query_one("#found", OptionList).highlighted or 0
        done = False
        try:
            await asyncio.to_thread(change)
            done = True
        except StoreError as error:
            self.notify(printable(str(error)), severity="error", markup=False)
        await self._refresh(at)
        return done


def _line(summary: Summary) -> Content:
    when = datetime.fromtimestamp(summary.updated)
    today = when.date() == datetime.now().date()
    stamp = when.strftime("%H:%M" if today else "%Y-%m-%d")
    return Content(f"{stamp:>10}  {summary.n_messages:>3}  {one_line(summary.title, 50)}")
