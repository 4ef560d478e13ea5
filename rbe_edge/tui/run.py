"""Starting the client: opens the store, runs the application, and gives the terminal back."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from rbe_edge.machine import sensors
from rbe_edge.runtime.faults import restored_terminal
from rbe_edge.store import places
from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.app import INTERRUPTED, Client
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.start import Start

#: Ends what Textual has switched on: synchronised output, pasting in brackets, sizes, focus and mouse as input, keys of
#: kitty's protocol, the second screen, the hidden cursor, colours.
_LEAVE = b"".join(
    b"\x1b[" + code
    for code in (
        b"?2026l", b"?2004l", b"?7h", b"?2048l", b"?1000l", b"?1003l", b"?1015l", b"?1006l", b"?1016l", b"<u",
        b"?1049l", b"?25h", b"?1004l", b"0m",
    )
)  # fmt: skip


def run_client(start: Start, *, verify: bool = True, template: str | None = None) -> int:
    """The exit code. Raises what kept the model from opening. Conversations that cannot be opened are left as they are,
    and the chat goes on without them."""
    warning = ""
    try:
        store = ConversationStore(places.conversations_file())
    except StoreError as error:
        warning = f"{error}. This chat is not saved; F5 exports it."
        store = ConversationStore(None)
    with store:
        states = StateFiles(None if warning else places.states_directory())
        with suppress(StoreError):  # it is told when the conversations are read
            states.sweep(store.ids())
        engine = Engine(verify=verify, template=template, power=sensors.measuring(), choice=start.power)
        client = Client(start, store, engine, states=states, warning=warning)
        client.end = _ending()
        client.driver_class = _heeded_by(client)
        with restored_terminal(_LEAVE), _signals_heeded_by(client):
            client.run()
        if client.failure is not None:
            raise client.failure
        return client.return_code or 0


def _heeded_by(client: Client) -> type[Driver]:
    """Textual's own way to a terminal; the client sees first what comes from it."""

    class Heeded(LinuxDriver):
        def process_message(self, message: Message) -> None:
            client.heed(message)
            super().process_message(message)

    return Heeded


@contextmanager
def _signals_heeded_by(client: Client) -> Iterator[None]:
    """Else asyncio and Textual would end all that has begun in order, which takes half a second."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):  # a shell made the program deaf to it
        yield
        return

    def heed(number: int, frame: FrameType | None) -> None:
        client.heed_signal()
        before(number, frame)

    signal.signal(signal.SIGINT, heed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ending() -> Callable[[], None]:
    """What gives the terminal back as it is now, and ends the process at once. Textual waits up to 0.2 s for its thread
    that reads keys; what is to be kept is on the disk by then."""
    terminal = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2  # which Textual writes to
    before = termios.tcgetattr(0) if os.isatty(0) else None

    def end() -> None:
        with suppress(OSError, termios.error):
            if before is not None:
                termios.tcsetattr(0, termios.TCSANOW, before)
            os.write(terminal, _LEAVE)
        os._exit(INTERRUPTED)

    return end
