"""The part of the application that holds for the whole run: texts for the person, settings, colours, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.theme import Theme
from textual.widgets import Input, TextArea
from textual.widgets.text_area import Selection

from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.terminal_text import printable
from rbe_edge.tui import clipboard, messages
from rbe_edge.tui.settings import DARK, LIGHT, Settings
from rbe_edge.tui.themes import OWN

#: So long a second Ctrl-C quits.
AGAIN_S = 2.0


class Frame(App[None]):
    """settings: those that hold now. environment: what tells how a text reaches the clipboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "Copy, stop or quit", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("ctrl+t", "toggle_theme", "Dark or light", show=False, priority=True),
    ]

    def __init__(self, store: ConversationStore) -> None:
        super().__init__()
        for theme in OWN:
            self.register_theme(theme)
        self.theme = DARK
        self.store = store
        self.settings = Settings()
        self._shown_until: dict[str, float] = {}  # of the texts that go by themselves
        self.environment: Mapping[str, str] = os.environ
        self._quits_until = 0.0

    def get_key_display(self, binding: Binding) -> str:
        """As keys are written elsewhere: Esc, F1, ^n."""
        shown = super().get_key_display(binding)
        return shown.capitalize() if shown == "esc" or re.fullmatch(r"f\d+", shown) else shown

    # ---- texts ----

    def tell(self, message: str, *, severity: SeverityLevel = "information", timeout: float = 4) -> None:
        """A message that goes by itself; never markup. Nothing where the same is still on the screen."""
        now = time.monotonic()
        self._shown_until = {shown: until for shown, until in self._shown_until.items() if until > now}
        if message not in self._shown_until:
            self._shown_until[message] = now + timeout
            self.notify(printable(message), severity=severity, timeout=timeout, markup=False)

    @on(messages.Told)
    def told(self, told: messages.Told) -> None:
        """What a screen asks to be told."""
        self.tell(told.text, severity=told.severity, timeout=told.timeout)

    # ---- copying ----

    def copy_to_clipboard(self, text: str) -> None:
        """Gives the text to the clipboard of the person, and tells where it went; Textual's own calls come here too."""
        self._clipboard = text  # what pasting within the client gives
        self.deliver(text)

    @work
    async def deliver(self, text: str) -> None:
        """The part of copy_to_clipboard() that may take a while."""
        found = await asyncio.to_thread(clipboard.deliver, text, self.environment)
        if found.sequence and self._driver is not None:
            self._driver.write(found.sequence)
        self.tell(found.words, severity="information" if found.done else "warning", timeout=4 if found.done else 10)

    # ---- Ctrl-C ----

    def stop_work(self) -> bool:
        """Stops what runs and is not being stopped yet; whether there was something."""
        raise NotImplementedError

    def quit_at_once(self) -> None:
        """Leaves; what waits for an answer of the person waits no longer."""
        raise NotImplementedError

    def action_interrupt(self) -> None:
        """Ctrl-C: copies what is selected; else stops what runs; else asks, and the second time quits."""
        selected = self._take_selection()
        if selected:
            self.copy_to_clipboard(selected)
        elif time.monotonic() < self._quits_until:
            self.quit_at_once()
        elif not self.stop_work():
            self._quits_until = time.monotonic() + AGAIN_S
            self.tell("Ctrl+C again quits", timeout=AGAIN_S)

    def _take_selection(self) -> str:
        """The text that is selected, on the screen or where a person writes. It is no longer selected then, so that the
        next Ctrl-C stops or quits."""
        text = self.screen.get_selected_text() or ""
        if text:
            self.screen.clear_selection()
            return text
        focused = self.screen.focused
        if isinstance(focused, TextArea):
            text = focused.selected_text
            focused.selection = Selection.cursor(focused.cursor_location)
        elif isinstance(focused, Input) and not focused.password:
            text = focused.selected_text
            focused.cursor_position = focused.cursor_position  # which ends the selection
        return text

    # ---- settings ----

    async def keep_settings(self, before: Settings) -> None:
        """Stores what was changed; what the command line says holds for this run alone."""
        old, new = before.as_dict(), self.settings.as_dict()
        changed = {name: value for name, value in new.items() if value != old[name]}
        if not changed:
            return
        try:
            await asyncio.to_thread(self.store.save_settings, changed)
        except StoreError as error:
            self.tell(str(error), severity="error")

    def action_toggle_theme(self) -> None:
        self.theme = LIGHT if self.current_theme.dark else DARK

    @work
    async def keep_theme(self, theme: Theme) -> None:
        """Also one that was chosen in the palette."""
        before, self.settings = self.settings, replace(self.settings, theme=theme.name)
        await self.keep_settings(before)
