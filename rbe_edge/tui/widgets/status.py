"""The line and the plots that tell how the device fares."""

from __future__ import annotations

from collections import deque

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Sparkline, Static

from rbe_edge.machine.power import Mode
from rbe_edge.machine.sensors import Readings
from rbe_edge.terminal_text import size
from rbe_edge.tui.power import PowerState

_HISTORY = 240  # points of a plot


def status_text(
    *,
    rate: float,
    position: int,
    context: int,
    readings: Readings | None,
    width: int,
    power: PowerState | None = None,
    joules_per_token: float | None = None,
    doing: str = "",
    unsaved: bool = False,
) -> str:
    """rate: tokens/s, 0 for none yet. position, context: in tokens. power: shown where it is not the performance mode.
    joules_per_token: of the last answer. width: cells that there are; where they are too few for all, each figure is
    said in fewer words."""
    speed = f"{rate:.1f}" if rate else "-"
    figures = [(f"{speed} tokens/s", f"{speed} t/s")]
    if joules_per_token is not None:
        figures.append((f"{joules_per_token:.3g} J/token", f"{joules_per_token:.2g} J/t"))
    if context:
        figures.append((f"context {position}/{context}", f"{position}/{context}"))
    reason = "" if power is None or power.mode == Mode.PERFORMANCE else power.reason
    if readings is not None:
        memory = size(readings.memory)
        figures.append((f"{memory}, {size(readings.free)} free", memory))
        if readings.battery is not None and "%" not in reason:
            charge = f"{readings.battery:.0f}%{'+' if readings.plugged else ''}"
            figures.append((f"battery {charge}", charge))
        if readings.temperature is not None and " C" not in reason:
            figures.append((f"{readings.temperature:.0f} °C",) * 2)
    told = [doing] * bool(doing) + ["NOT SAVED"] * unsaved + [str(power)] * bool(reason and power)
    long, short = (" · ".join([*told, *said]) for said in zip(*figures, strict=True))
    return long if len(long) <= width else short


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
        line = Sparkline([], summary_function=max)
        line.visible = False  # it would be drawn from end to end
        yield line

    @property
    def empty(self) -> bool:
        return not self._values

    def caption(self, text: str) -> None:
        for label in self.query(Static):  # none before it is there, and none when it goes
            label.update(Content(f"{self._what}: {text}"))

    def add(self, value: float) -> None:
        self._values.append(value)
        low, high = min(self._values), max(self._values)
        self.caption(f"{value:.1f} ({low:.1f} to {high:.1f})")
        for line in self.query(Sparkline):  # a column for each value: two do not make a hill of the whole width
            line.styles.width = len(self._values)
            # Of one value alone Textual makes a block; a line is as high as the lowest value.
            line.data = list(self._values) if len(self._values) > 1 else [value, value]
            line.visible = True


class Meters(Horizontal):
    """The plots of tokens/s and temperature."""

    def compose(self) -> ComposeResult:
        yield Plot("tokens/s", id="rate-plot")
        yield Plot("°C", id="temperature-plot")

    def add_rate(self, rate: float) -> None:
        """tokens/s"""
        self.query_one("#rate-plot", Plot).add(rate)

    def add_temperature(self, temperature: float | None) -> None:
        """Degrees Celsius; None: the machine does not tell."""
        for plot in self.query("#temperature-plot").results(Plot):  # none before it is there, and none when it goes
            if temperature is not None:
                plot.add(temperature)
            elif plot.empty:
                plot.caption("no sensor that can be read here")
