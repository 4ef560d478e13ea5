"""What the server writes for its operator: short lines, without a word of a request, and few where an event repeats."""

from __future__ import annotations

import logging
import re
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rbe_edge.errors import RbeError
from rbe_edge.terminal_text import one_line

_MINUTE = 60.0
_MOST_KINDS = 100
_MOST_CHARACTERS = 300
_DIGITS = re.compile(r"\d+")


def cause_of(error: BaseException) -> str:
    """What went wrong, for the log. Texts of other errors than the project's own are left out, because they may quote a
    request; where they came from is said instead."""
    cause = error.__cause__ or error
    if isinstance(cause, RbeError):
        return one_line(str(cause), _MOST_CHARACTERS)
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    reason = f": {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else ""
    return f"{type(cause).__name__}{reason}{place}"


def log_switch(line: str) -> None:
    """A switch of power modes, with its reason; each one, however often they come. Any thread."""
    logging.getLogger("rbe_edge.server").warning("power mode %s", line, extra={"each": True})


@dataclass
class _Event:
    """told_at: seconds. more: how often it came since."""

    line: str
    told_at: float
    more: int = 0


class RepeatedLines(logging.Handler):
    """Writes a line for each event, but one a minute where an event comes again, with how often it came. Events whose
    lines differ in numbers alone are the same; a record with `each` is written whatever came before. flush() writes
    what is due. Any thread."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._events: dict[str, _Event] = {}
        self._events_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        line = one_line(record.getMessage(), _MOST_CHARACTERS)
        if getattr(record, "each", False):
            self._write(line)
            return
        kind = _DIGITS.sub("#", line)
        now = time.monotonic()
        self.flush()
        with self._events_lock:
            if kind not in self._events and len(self._events) >= _MOST_KINDS:
                kind = line = "further events of other kinds"
            known = self._events.get(kind)
            if known is not None:
                known.more += 1
                return
            self._events[kind] = _Event(line, now)
        self._write(line)

    def flush(self) -> None:
        self._tell_until(time.monotonic() - _MINUTE)

    def close(self) -> None:
        self._tell_until(float("inf"))
        super().close()

    def _tell_until(self, latest: float) -> None:
        """Tells what came again since it was told, where that was before `latest`; else forgets it."""
        lines = []
        with self._events_lock:
            for kind, event in list(self._events.items()):
                if event.told_at > latest:
                    continue
                if event.more:
                    lines.append(f"{event.line} ({event.more} more time{'s' * (event.more > 1)})")
                    event.told_at, event.more = time.monotonic(), 0
                else:
                    del self._events[kind]
        for line in lines:
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(f"rbe: {line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            pass
