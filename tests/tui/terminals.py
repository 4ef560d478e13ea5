"""A real terminal for tests: tmux, without a window on any screen."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

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
