"""The keys and the commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from rbe_edge.tui.commands import COMMANDS

KEYS = (
    ("Enter", "send"),
    ("/", "a command: see below; // begins a message with a slash"),
    ("@path", "bring a text file along; dropping one does too"),
    ("Ctrl+J", "a new line; Shift+Enter too, where it can be told"),
    ("Escape", "stop the answer; what was said stays"),
    ("Ctrl+C", "copy what is selected; else stop; twice: leave"),
    ("Up, Down", "earlier messages"),
    ("PgUp, PgDn, wheel", "scroll"),
    ("Ctrl+R", "another answer to the last question; those before stay"),
    ("Alt+Left, Alt+Right", "the answers to the last question, in turn"),
    ("F8", "go on with an answer that was cut"),
    ("Ctrl+G", "change the last question"),
    ("F6", "copy the answer (the mouse selects)"),
    ("Ctrl+N", "a new conversation"),
    ("Ctrl+O", "all conversations: search, open, rename, delete"),
    ("Ctrl+B", "the list beside the conversation, from 120 columns on"),
    ("F2", "settings: sampling, system prompt, context, threads"),
    ("F3", "another model"),
    ("F4", "plots of tokens/s and temperature"),
    ("F5", "export to Markdown or JSON"),
    ("F7", "power: by battery and heat, or always one mode"),
    ("Ctrl+T", "dark or light"),
    ("Ctrl+P", "all commands, by name"),
    ("Ctrl+Q", "leave"),
)


def _table(rows: Sequence[tuple[str, str]]) -> Content:
    return Content("\n".join(f"{key:<20} {what}" for key, what in rows))


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss(None)", "Back", key_display="Esc")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="window long"):
            yield Static("Keys", classes="heading")
            with VerticalScroll():
                yield Static(_table(KEYS))
                yield Static("Commands", classes="heading second")
                yield Static(_table([(f"/{c.name} {c.takes}", c.what) for c in COMMANDS]))
        yield Footer()
