"""Choosing a power mode, with what each one loses."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from rbe_edge.machine.power import Mode
from rbe_edge.runtime.parts import ModeTable
from rbe_edge.terminal_text import one_line
from rbe_edge.tui.power import WORKERS, PowerState, losses
from rbe_edge.tui.settings import AUTO, MODE_LABELS

_CHOICES = (AUTO, *MODE_LABELS)


class PowerScreen(ModalScreen["str | None"]):
    """Answers AUTO or the label of a mode; None for Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f7", "dismiss(None)", "Back", key_display="Esc")]

    def __init__(self, chosen: str, state: PowerState | None, table: ModeTable | None) -> None:
        """chosen: of the settings. state: None where no model is open. table: of its file."""
        super().__init__()
        self._chosen = chosen
        self._state = state
        self._table = table

    def compose(self) -> ComposeResult:
        with Vertical(classes="window form"):
            yield Static("Power: it holds from the next token on", classes="heading")
            yield OptionList(*(Option(Content(self._line(name))) for name in _CHOICES), id="modes", markup=False)
            yield Static(Content(self._source()), classes="hint")
        yield Footer()

    def on_mount(self) -> None:
        modes = self.query_one("#modes", OptionList)
        modes.highlighted = _CHOICES.index(self._chosen)
        modes.focus()

    def _line(self, name: str) -> str:
        mark = "•" if name == self._chosen else " "
        if name == AUTO:
            now = f", now {self._state}" if self._state is not None and self._chosen == AUTO else ""
            return f"{mark} {name:<12} by battery and heat{now}"
        mode = Mode.named(name)
        line = f"{mark} {name:<12} {WORKERS[mode]}"
        return line if self._table is None else f"{line}\n      {losses(mode, self._table)}"

    def _source(self) -> str:
        if self._table is None:
            return "The file has no table of modes, so they save by threads alone: rbe eval FILE --power all"
        return f"Bytes that a token reads, and what that costs, as measured on {one_line(self._table.text, 60)}"

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(_CHOICES[event.option_index])
