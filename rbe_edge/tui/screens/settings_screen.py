"""Sampling, system prompt, context and threads: what is changed here holds from the next answer on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, Input, Static, TextArea

from rbe_edge.errors import OptionError
from rbe_edge.tui.settings import Settings


@dataclass(frozen=True)
class _Row:
    """A setting: its field, its name for people, what it means, and how its text is read. automatic: what an empty
    line means; None where it must not be empty."""

    field: str
    label: str
    hint: str
    read: Callable[[str], Any]
    automatic: Any = None
    may_be_empty: bool = False


_ROWS = (
    _Row("temperature", "Temperature", "empty: the model's; 0: the likeliest word", float, None, True),
    _Row("top_k", "Top k", "the k likeliest words; 0: all", int),
    _Row("top_p", "Top p", "the likeliest of this share; 1: all", float),
    _Row("min_p", "Min p", "this part of the likeliest; 0: all", float),
    _Row("repeat_penalty", "Repeat penalty", "above 1: fewer repetitions; 1: off", float),
    _Row("seed", "Seed", "empty: another each time", int, None, True),
    _Row("max_tokens", "Answer length", "tokens at most; empty: until it ends", int, None, True),
    _Row("context", "Context", "tokens; 0: the model's own", int),
    _Row("threads", "Threads", "0: one per core", int),
)


@dataclass(frozen=True)
class Chosen:
    """settings: for all conversations. system: of this one."""

    settings: Settings
    system: str


class SettingsScreen(ModalScreen["Chosen | None"]):
    """Answers what was chosen, None where it was left with Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "save", "Save", priority=True),
        Binding("ctrl+w", "defaults", "Defaults", priority=True),
    ]

    def __init__(self, settings: Settings, system: str) -> None:
        super().__init__()
        self._settings = settings
        self._system = system

    def compose(self) -> ComposeResult:
        with Vertical(classes="window form"):
            yield Static("Settings: they hold from the next answer on", classes="heading")
            with VerticalScroll(can_focus=False):
                for row in _ROWS:
                    with Horizontal(classes="row"):
                        yield Static(row.label, classes="label")
                        yield Input(
                            _text(getattr(self._settings, row.field)), id=row.field, max_length=30, compact=True
                        )
                        yield Static(Content(row.hint), classes="hint")
                yield Static("System prompt: what the model is told first", classes="label-wide")
                yield TextArea(self._system, id="system", soft_wrap=True, tab_behavior="focus", compact=True)
            yield Static("", id="wrong")
            with Horizontal(classes="buttons"):
                yield Button("Save (^s)", id="save", variant="primary", compact=True)
                yield Button("Cancel (Esc)", id="cancel", compact=True)
        yield Footer()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "save":
            self.action_save()
        else:
            self.dismiss(None)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_save()

    def action_defaults(self) -> None:
        """Everything as it was when rbe was new, but nothing is saved yet."""
        for row in _ROWS:
            self.query_one(f"#{row.field}", Input).value = _text(getattr(Settings(), row.field))

    def action_save(self) -> None:
        changed: dict[str, Any] = {}
        for row in _ROWS:
            field = self.query_one(f"#{row.field}", Input)
            text = field.value.strip()
            try:
                if not text and not row.may_be_empty:
                    raise OptionError("it must not be empty")
                changed[row.field] = row.read(text) if text else row.automatic
                settings = replace(self._settings, **changed)
            except ValueError as error:  # OptionError is one
                reason = str(error) if isinstance(error, OptionError) else "this is no number of its kind"
                self._refuse(f"{row.label}: {reason}")
                field.focus()
                return
        try:
            self.dismiss(Chosen(replace(settings, system=self._new_system()), self._new_system()))
        except OptionError as error:
            self._refuse(str(error))

    def _new_system(self) -> str:
        return self.query_one("#system", TextArea).text.strip()

    def _refuse(self, why: str) -> None:
        self.query_one("#wrong", Static).update(Content(why))


def _text(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
