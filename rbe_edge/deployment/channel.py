"""What a device is reached by, whether ssh or adb, and how a broken connection is taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from rbe_edge.errors import DeployError

RETRIES = 5
"""So often in a row a broken connection is opened again without anything coming through, before we give up."""

_FIRST_WAIT_S = 1.0  # doubled each time: 1, 2, 4, 8, 16, which outlasts the restart of an access point

Sent = Callable[[int], object]
"""sent(n_bytes): so many more bytes were handed over."""

_Result = TypeVar("_Result")


class ConnectionLost(Exception):
    """The connection broke, or could not be opened though the device may be there; what is said is one line."""


@dataclass(frozen=True)
class Answer:
    """What a script said on the device. code: its exit code; of a signal 128 and its number."""

    code: int
    out: str
    err: str


class Channel(Protocol):
    """A way to a device. name: the device, for people. For one thread."""

    name: str

    def open(self) -> None:
        """Opens the connection, again too. Raises ConnectionLost, and DeployError where trying again is of no use."""

    def run(self, script: str, arguments: Sequence[str] = ()) -> Answer:
        """Runs a script in a POSIX shell. Raises ConnectionLost."""

    def append(self, path: str, file: Path, start: int, end: int, sent: Sent) -> None:
        """Appends the bytes [start, end) of a file here to `path` there. Raises ConnectionLost, and then part of them
        may be there; DeployError with the device's own words where it cannot write."""

    def close(self) -> None:
        """Ends the connection; twice is allowed."""


class Link:
    """A channel that is opened again after it broke. For one thread."""

    def __init__(
        self, channel: Channel, again: str, told: Callable[[str], object], first_wait_s: float = _FIRST_WAIT_S
    ):
        """again: the command line that goes on later. told: hears one line for the person."""
        self.name = channel.name
        self._channel = channel
        self._again = again
        self._told = told
        self._first_wait_s = first_wait_s

    def run(self, script: str, arguments: Sequence[str] = ()) -> Answer:
        """As of a channel, again after the connection broke: the script must bear to be run twice."""
        return self.persist(lambda channel: channel.run(script, arguments))

    def persist(
        self, work: Callable[[Channel], _Result], progress: Callable[[], int] = lambda: 0, left: str = ""
    ) -> _Result:
        """Does the work, and again where the connection breaks. progress: grows while something comes through, and then
        the tries count from the start. left: said where we give up, of what is there. Raises DeployError then."""
        tries, before = 0, progress()
        while True:
            try:
                if tries:
                    self._channel.open()
                return work(self._channel)
            except ConnectionLost as lost:
                now = progress()
                tries = 1 if now > before else tries + 1
                before = now
                self._wait(tries, str(lost), left)

    def _wait(self, tries: int, reason: str, left: str) -> None:
        if tries > RETRIES:
            said = f"; {left}" if left else ""
            raise DeployError(
                f"{self.name}: {reason}; {RETRIES} tries more brought nothing{said}; go on with: {self._again}"
            )
        wait_s = self._first_wait_s * 2 ** (tries - 1)
        self._told(f"{self.name}: {reason}; trying again in {wait_s:.0f} s ({tries} of {RETRIES})")
        time.sleep(wait_s)
