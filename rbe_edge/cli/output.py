"""What goes to the terminal: text made safe for it, sizes for people, and progress bars."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

# C0 without tab and newline, DEL and C1: a terminal obeys them (colours, cursor, title, clipboard), and a model or a
# file from elsewhere must not command the terminal. Bidirectional overrides make text read as what it is not.
_CONTROLS = dict.fromkeys(
    [code for code in range(0x20) if code not in (0x09, 0x0A)]
    + [*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)

_BAR_AFTER_S = 0.5  # shorter work shows no bar


def printable(text: str) -> str:
    """The text without control characters, tab and newline excepted."""
    return text.translate(_CONTROLS)


def note(message: str) -> None:
    """One line for the person, beside the output."""
    print(f"rbe: {printable(message)}", file=sys.stderr, flush=True)


def size(n_bytes: int) -> str:
    """1536 -> '1.5 KiB'."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    value = n_bytes / 1024
    for unit in ("KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


class ProgressBar:
    """A bar on the terminal for work that takes longer than a moment, gone when closed; nothing where standard error is
    no terminal."""

    def __init__(self, what: str = "") -> None:
        self._what = what
        self._began = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def report(self, done: int, total: int) -> None:
        self.report_named(self._what, done, total)

    def report_named(self, what: str, done: int, total: int) -> None:
        """For work that says what it is doing."""
        if self._bar is None:
            if time.monotonic() - self._began < _BAR_AFTER_S or not sys.stderr.isatty():
                return
            self._start()
        self._bar.update(self._task, description=printable(what), completed=done, total=total)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        ]
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def close(self) -> None:
        """Takes the bar away; closing twice is allowed."""
        self._began = float("inf")
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
