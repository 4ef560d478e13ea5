"""The line and the plots that tell how the device fares."""

from __future__ import annotations

from collections import deque

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Sparkline, Static

from rbe_edge.runtime.terminal_text import size
from rbe_edge.tui.device import Readings

_HISTORY = 240  # points of a plot


def status_text(
    *, rate: float, position: int, context: int, readings: Readings | None, doing: str = "", unsaved: bool = False
) -> str:
    """rate: tokens/s, 0 for none yet. position, context: in tokens."""
    parts = [doing] if doing else []
    if unsaved:
        parts.append("NOT SAVED")
    parts.append(f"{rate:.1f} tokens/s" if rate else "- tokens/s")
    if context:
        parts.append(f"context {position}/{context}")
    if readings is not None:
        parts.append(f"{size(readings.memory)}, {size(readings.free)} free")
        if readings.battery is not None:
            parts.append(f"battery {readings.battery:.0f}%{'+' if readings.plugged else ''}")
        if readings.temperature is not None:
            parts.append(f"{readings.temperature:.0f} °C")
    return " · ".join(parts)


class StatusLine(Static):
    """One line."""

    def show(self, text: str) -> None:
        self.update(Content(text))


class Plot(Vertical):
    """A line of numbers over time."""

    def __init__(self, what: str, *, id: str) -> None:
        super().__init__(id=id)
        self._what = what
        self._values: deque[float] = deque(maxlen=_HISTORY)

    def compose(self) -> ComposeResult:
        yield Static(Content(f"{self._what}: nothing yet"), classes="caption")
        yield Sparkline([], summary_function=max)

    def add(self, value: float) -> None:
        self._values.append(value)
        low, high = min(self._values), max(self._values)
        self.query_one(Static).update(Content(f"{self._what}: {value:.1f} ({low:.1f} to {high:.1f})"))
        self.query_one(Sparkline).data = list(self._values)


class Meters(Horizontal):
    """The plots of tokens/s and temperature."""

    def compose(self) -> ComposeResult:
        yield Plot("tokens/s", id="rate-plot")
        yield Plot("°C", id="temperature-plot")

    def add(self, *, rate: float | None = None, temperature: float | None = None) -> None:
        if rate is not None:
            self.query_one("#rate-plot", Plot).add(rate)
        if temperature is not None:
            self.query_one("#temperature-plot", Plot).add(temperature)
