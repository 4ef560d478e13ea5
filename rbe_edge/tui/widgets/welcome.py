"""What a new conversation shows: which model answers here, and three things to try."""

from __future__ import annotations

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rbe_edge.terminal_text import one_line, size
from rbe_edge.tui.engine import Loaded

_TRIES = (
    "How does a battery store energy? Explain it in three sentences.",
    "Write a short poem about the sea at night.",
    "What should I pack for a weekend in the mountains?",
)
_TRIES_OF_THE_DEMO = ("hello", "tell me a story", "what can you do?")


class Welcome(Vertical):
    """Posts Tried. Enter, a click or its number chooses one of the three."""

    class Tried(Message):
        """Something to try was chosen."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, loaded: Loaded | None, rate: float) -> None:
        """rate: tokens/s of this model's last answer on this machine, 0 where it is not known."""
        super().__init__(id="welcome")
        self._lines = [Content("No model is open. F3 chooses one.")] if loaded is None else _about(loaded, rate)
        self.tries = () if loaded is None else _TRIES_OF_THE_DEMO if loaded.path is None else _TRIES

    def compose(self) -> ComposeResult:
        yield Static(Content("\n").join(self._lines), id="about")
        yield Static("A new conversation. It stays on this device.", classes="hint")
        if self.tries:
            yield Static("Three things to try: type a number and Enter.", classes="hint")
            numbered = (Content(f"{number}  {text}") for number, text in enumerate(self.tries, start=1))
            yield OptionList(*(Option(line) for line in numbered), id="tries", markup=False, compact=True)

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in "123"[: len(self.tries)]:
            event.stop()
            self.post_message(self.Tried(self.tries[int(event.character) - 1]))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Tried(self.tries[event.option_index]))


def _about(loaded: Loaded, rate: float) -> list[Content]:
    info = loaded.info
    weights = (
        f"{info.parameters / 1e9:.2f} billion" if info.parameters >= 1e9 else f"{info.parameters / 1e6:.3g} million"
    )
    figures = [size(info.file_bytes), f"{weights} weights", f"{info.bits_per_weight:.2f} bits each"]
    speed = f" · {rate:.0f} tokens/s last time" if rate else ""
    return [
        Content(one_line(loaded.name, 60)).stylize("bold $text-primary"),
        Content(" · ".join(figures)),
        Content(f"context {loaded.context} tokens{speed}"),
    ]
