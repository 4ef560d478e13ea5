"""Choosing a model: the demo, the files here and in the model directory, or one to be packed from the hub."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from rbe_edge.runtime.model import demo_path
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.terminal_text import one_line, size
from rbe_edge.tui.catalogue import Details, details_of
from rbe_edge.tui.engine import model_key
from rbe_edge.tui.rates import Rates

_MOST_FILES = 500
_COLUMNS = "{} {:<33} {:>10} {:>5} {:>9} {:>8}"


@dataclass(frozen=True)
class Choice:
    """path None: the demo."""

    path: Path | None
    file_bytes: int


@dataclass(frozen=True)
class FromHub:
    """A model is to be packed."""


def find_models(directories: list[Path]) -> list[Choice]:
    """The demo and the .rbe files of these directories, by name; a directory that cannot be read has none."""
    found: dict[Path, int] = {}
    for directory in directories:
        try:
            for path in sorted(directory.glob("*.rbe"))[:_MOST_FILES]:
                if path.is_file():
                    found.setdefault(path.resolve(), path.stat().st_size)
        except OSError:
            continue
    demo = demo_path()
    files = [Choice(path, n_bytes) for path, n_bytes in found.items() if path != demo.resolve()]
    return [Choice(None, demo.stat().st_size), *files]


def choice_of(path: Path) -> Choice:
    """A file that lies elsewhere; one that is gone has no bytes."""
    try:
        return Choice(path, path.stat().st_size)
    except OSError:
        return Choice(path, 0)


class ModelScreen(ModalScreen["Choice | FromHub | None"]):
    """Answers what was chosen; None for Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("ctrl+n", "pack", "Pack from Hugging Face", priority=True),
    ]

    def __init__(self, directories: list[Path], current: Path | None, session: SessionOptions, rates: Rates) -> None:
        """current: the model that is open. session: with which one would be run. rates: how fast they answered here."""
        super().__init__()
        self._session = session
        self._rates = rates
        self._directories = directories
        self._current = current
        self._choices: list[Choice] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static("Models", classes="heading")
            yield Static(
                Content(_COLUMNS.format(" ", "name", "size", "bits", "memory", "tokens/s")), classes="hint columns"
            )
            yield OptionList(id="models", markup=False)
            places = ", ".join(one_line(str(directory), 100) for directory in self._directories)
            yield Static(Content(f"From {places}"), classes="hint")
        yield Footer()

    async def on_mount(self) -> None:
        self._choices = await asyncio.to_thread(find_models, self._directories)
        if self._current is not None and self._current not in [choice.path for choice in self._choices]:
            self._choices.insert(1, await asyncio.to_thread(choice_of, self._current))
        models = self.query_one("#models", OptionList)
        models.add_options([Option(self._line(choice, Details())) for choice in self._choices])
        models.add_option(Option(Content("  + pack a model from Hugging Face …")))
        models.highlighted = next((at for at, it in enumerate(self._choices) if it.path == self._current), 0)
        models.focus()
        self._describe()

    @work
    async def _describe(self) -> None:
        """What each file takes, one after the other."""
        for at, choice in enumerate(self._choices):
            found = await asyncio.to_thread(details_of, choice.path or demo_path(), self._session)
            self.query_one("#models", OptionList).replace_option_prompt_at_index(at, self._line(choice, found))

    def _line(self, choice: Choice, details: Details) -> Content:
        name = "the demo" if choice.path is None else choice.path.name
        mark = "•" if choice.path == self._current else " "
        rate = self._rates.of_model(model_key(choice.path))
        bits = f"{details.bits:.2f}" if details.bits else ""
        memory = size(details.memory) if details.memory else ""
        speed = f"{rate:.0f}" if rate else ""
        line = Content(_COLUMNS.format(mark, one_line(name, 33), size(choice.file_bytes), bits, memory, speed))
        return line + Content(f"\n    {one_line(details.wrong, 66)}").stylize("$text-error") if details.wrong else line

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        at = event.option_index
        self.dismiss(self._choices[at] if at < len(self._choices) else FromHub())

    def action_pack(self) -> None:
        self.dismiss(FromHub())
