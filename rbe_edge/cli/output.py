"""What the commands write to the terminal: text made safe for it, notes, and progress bars."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, TextIO

from rbe_edge.terminal_text import duration as duration
from rbe_edge.terminal_text import printable as printable
from rbe_edge.terminal_text import size as size

_BAR_AFTER_S = 0.5  # shorter work shows no bar


def note(message: str) -> None:
    """One line for the person, beside the output."""
    print(fitted(f"rbe: {printable(message)}", sys.stderr), file=sys.stderr, flush=True)


def fitted(line: str, stream: TextIO) -> str:
    """The line in several, where the stream is a terminal that is narrower: words stay whole, and paths."""
    width = columns(stream)
    return line if width is None else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def columns(stream: TextIO) -> int | None:
    """How wide the terminal is that the stream is shown on; None where it is none."""
    if not stream.isatty():
        return None
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or None
    return None


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does, so that the programs that it started end too and nothing half-written
    is left. To be used on the main thread.

    It becomes a Ctrl-C, and that a SystemExit: what a handler raises while the library calls back is lost where it is
    not that of Ctrl-C (_native.py)."""
    ended: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        ended.append(number)
        if not callable(signal.getsignal(signal.SIGINT)):  # a shell made the program deaf to it
            raise SystemExit(128 + number)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if ended:
            raise SystemExit(128 + ended[0]) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def cut(line: str, width: int | None) -> str:
    """The line, where it is shown on a terminal of that width; None where it is not."""
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


class ProgressBar:
    """A bar on the terminal for work that takes longer than a moment, gone when closed; nothing where standard error is
    no terminal."""

    def __init__(self, in_ms: bool = False) -> None:
        """in_ms: what it shows counts in milliseconds, and says itself how many are left (packing/forecast.py)."""
        self._in_ms = in_ms
        self._began = time.monotonic()
        self._widest = 0
        self._bar: Any = None
        self._task: Any = None

    def show(self, what: str, done: int, total: int) -> None:
        """A Listener (rbe_edge/progress.py)."""
        if self._bar is None:
            if time.monotonic() - self._began < _BAR_AFTER_S or not sys.stderr.isatty():
                return
            self._start()
        left = duration((total - done) / 1000) if self._in_ms else ""
        words = printable(what)
        self._widest = max(self._widest, len(words))  # so that the bar stands where it stood
        text = words.ljust(self._widest)
        self._bar.update(self._task, description=text, completed=done, total=total, left=left)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        left: ProgressColumn = TimeRemainingColumn()
        if self._in_ms:
            left = TextColumn("{task.fields[left]}", markup=False)
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), left]
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None, left="")
        self._bar.start()

    def close(self) -> None:
        """Takes the bar away; closing twice is allowed."""
        self._began = float("inf")
        self.pause()

    def pause(self) -> None:
        """Takes the bar away until it is shown again, for lines that stay."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
