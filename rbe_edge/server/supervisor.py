"""Tells who started the server how it fares: systemd's protocol, sd_notify(3). Nothing where nobody asks."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping


class Supervisor:
    """One thread. is_alive: whether the server could still answer; systemd starts one anew that has not been for
    WatchdogSec. environment: NOTIFY_SOCKET, and WATCHDOG_USEC where systemd watches."""

    def __init__(self, is_alive: Callable[[float], bool], environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._is_alive = is_alive
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "")
        self._limit = int(usec) / 1e6 if watched and usec.isascii() and usec.isdigit() else 0.0
        self._told = -self._limit

    def ready(self) -> None:
        """It answers from now on."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """It has begun to end, which may take a while."""
        self._tell("STOPPING=1")

    def look(self) -> None:
        """To be called often: every half of WatchdogSec it says that the server is alive, if it is."""
        now = time.monotonic()
        if self._limit > 0 and now - self._told >= self._limit / 2 and self._is_alive(self._limit):
            self._tell("WATCHDOG=1")
            self._told = now

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), self._address)
            except OSError:
                pass  # who asked is gone or does not read: nothing that the server could do about it
