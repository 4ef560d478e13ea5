"""`rbe chat` in a real terminal, under tmux, as a person starts it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbe_edge.runtime.model import demo_path

_PATIENCE_S = float(os.environ.get("RBE_TEST_PATIENCE_S", "60"))


class Terminal:
    """A tmux server of its own, with one window of 80 columns and 24 lines."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "tmux"
        self.home = directory

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", os.devnull, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

    def start(self, *arguments: str) -> None:
        environment = {
            "XDG_DATA_HOME": str(self.home / "data"),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            **{name: os.environ[name] for name in ("RBE_LIBRARY", "PYTHONPATH") if name in os.environ},
        }
        words = ["env", *(f"{name}={value}" for name, value in environment.items())]
        chat = shlex.join([*words, sys.executable, "-m", "rbe_edge", "chat", *arguments])
        shell = f'cd {shlex.quote(str(self.home))} && {chat}; echo "left with $?"; exec cat'
        if self.socket.exists():
            self.tmux("respawn-pane", "-k", shell)
        else:
            self.tmux("new-session", "-d", "-x", "80", "-y", "24", shell)

    def modes(self) -> str:
        """Second screen, cursor, mouse, keypad: what a program may leave switched on."""
        flags = ("alternate_on", "cursor_flag", "mouse_any_flag", "mouse_all_flag", "mouse_sgr_flag", "keypad_flag")
        return self.tmux("display-message", "-p", " ".join(f"#{{{flag}}}" for flag in flags))

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def sees(self, text: str) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while text not in (shown := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{shown}"
            time.sleep(0.1)
        return shown

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed (Debian: tmux)")
    made = Terminal(tmp_path)
    yield made
    subprocess.run(["tmux", "-S", str(made.socket), "kill-server"], check=False, capture_output=True)


def test_a_chat_from_start_to_end(terminal: Terminal) -> None:
    terminal.start()
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    shown = terminal.sees("tokens/s · context 3")
    assert "hello" in shown and "the demo" in shown
    assert all(len(line) <= 80 for line in shown.splitlines()) and len(shown.splitlines()) == 24
    terminal.press("C-o")
    terminal.sees("Search titles and messages")
    terminal.press("Escape")
    terminal.sees("Esc Stop")  # an Escape and a key right after it would be one key with Alt
    terminal.press("F2")
    terminal.sees("Temperature")
    terminal.press("Escape")
    terminal.sees("Esc Stop")  # an Escape and a key right after it would be one key with Alt
    terminal.type("bye")
    terminal.press("C-q")
    terminal.sees("left with 0")  # and the terminal is itself again
    assert "rbe ·" not in terminal.screen()
    database = terminal.home / "data" / "rbe_edge" / "conversations.db"
    assert database.stat().st_size > 0
    terminal.start()
    terminal.sees("rbe · the demo · hello")  # the conversation goes on


def test_damaged_conversations_are_left_and_the_chat_goes_on(terminal: Terminal) -> None:
    database = terminal.home / "data" / "rbe_edge" / "conversations.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"damaged" * 1000)
    terminal.start("-n", "3")
    terminal.sees("NOT SAVED")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("Cut here")
    terminal.press("C-q")
    terminal.sees("2 messages of this conversation are not stored")
    terminal.press("y")
    terminal.sees("left with 0")
    assert database.read_bytes() == b"damaged" * 1000


def test_a_model_that_cannot_be_opened_is_one_line(terminal: Terminal) -> None:
    terminal.start("nowhere.rbe")
    shown = terminal.sees("left with 1")
    assert "rbe: nowhere.rbe does not exist; make a .rbe file with `rbe pack`" in " ".join(shown.split())


def test_a_file_that_is_lost_leaves_a_usable_terminal(terminal: Terminal) -> None:
    model = terminal.home / "m.rbe"
    shutil.copy(demo_path(), model)
    terminal.start("nowhere.rbe")
    terminal.sees("left with 1")
    before = terminal.modes()
    terminal.start("m.rbe")
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("tokens/s · context")
    assert terminal.modes() != before
    os.truncate(model, 20000)
    terminal.type("and now?")
    terminal.press("Enter")
    shown = terminal.sees("left with 1")
    assert "rbe: m.rbe: the file can no longer be read" in shown and "rbe ·" not in shown
    assert terminal.modes() == before
    terminal.type("echoed")  # by the terminal, which is in its usual mode again
    terminal.sees("echoed")


def test_ctrl_c_leaves_a_usable_terminal_and_what_was_said_is_stored(terminal: Terminal) -> None:
    terminal.start("nowhere.rbe")
    terminal.sees("left with 1")
    before = terminal.modes()
    terminal.start()
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("nice to meet you")
    terminal.press("C-c")
    terminal.sees("Ctrl+C again quits")
    while "left with" not in terminal.screen():  # a busy machine may need more than two seconds from press to press
        terminal.press("C-c")
        time.sleep(0.3)
    shown = terminal.sees("left with 130")
    assert "rbe ·" not in shown and "Traceback" not in shown
    assert terminal.modes() == before
    terminal.type("echoed")  # by the terminal, which is in its usual mode again
    terminal.sees("echoed")
    terminal.start()
    terminal.sees("rbe · the demo · hello")
    terminal.sees("nice to meet you")
