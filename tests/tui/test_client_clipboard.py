"""What is copied reaches the clipboard: through a real tmux and the terminal outside, a program, OSC 52."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from driving import client, played
from terminals import Terminal

from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui.clipboard import MOST_OSC_52, deliver


def osc_52(text: str) -> str:
    return f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"


def program(directory: Path, name: str, ends: str = "exit 0") -> None:
    """One that keeps what it is given in a file beside it."""
    path = directory / name
    path.write_text(f'#!/bin/sh\necho "$@" > {directory}/arguments\ncat > {directory}/taken\n{ends}\n')
    path.chmod(0o755)


def test_a_program_of_the_desktop_takes_it(tmp_path: Path) -> None:
    path = f"{tmp_path}:{os.defpath}"
    program(tmp_path, "wl-copy", "(sleep 60 &)")  # it stays, as xclip does
    found = deliver("Grüße", {"PATH": path, "WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"})
    assert (found.words, found.sequence) == ("copied to the clipboard (wl-copy)", "")
    assert (tmp_path / "taken").read_text() == "Grüße"
    program(tmp_path, "xclip")
    assert "xclip" in deliver("x", {"PATH": path, "DISPLAY": ":0"}).words
    assert (tmp_path / "arguments").read_text() == "-selection clipboard\n"
    away = {"PATH": path, "DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 2"}
    assert deliver("x", away).sequence == osc_52("x")  # forwarded X is not where the person's terminal is
    program(tmp_path, "xclip", "exit 1")
    assert deliver("x", {"PATH": path, "DISPLAY": ":0"}).sequence == osc_52("x")


def test_the_terminal_takes_it() -> None:
    assert deliver("Grüße \ud800", {}).sequence == osc_52("Grüße ?")
    through = deliver("a" * 300, {"STY": "1.pts", "TERM": "screen"}).sequence
    pieces = re.findall("\x1bP([^\x1b]+|\x1b\\][^\x1b]+)\x1b\\\\", through)
    assert "".join(pieces) == osc_52("a" * 300) and max(map(len, pieces)) <= 76
    old = deliver("a", {"TMUX": "/nowhere,1,0", "PATH": "/nonexistent"})
    assert old.sequence == "\x1bPtmux;\x1b" + osc_52("a") + "\x1b\\"


def test_what_cannot_be_copied_is_told() -> None:
    most = MOST_OSC_52 // 4 * 3
    assert deliver("a" * most, {}).sequence and deliver("a" * most, {}).done
    long = deliver("a" * (most + 1), {})
    assert not long.done and not long.sequence and "56,251 bytes" in long.words and "F5 exports" in long.words
    console = deliver("a", {"TERM": "linux"})
    assert not console.done and not console.sequence and "no clipboard" in console.words


@played
async def test_the_client_sends_and_tells() -> None:
    async with client() as it:
        await it.say("hello")
        sent: list[str] = []
        assert it.client._driver is not None
        it.client._driver.write = sent.append  # type: ignore[method-assign]
        await it.press("f6")
        await it.told("sent to the terminal's clipboard (OSC 52)")
        assert sent == [osc_52(it.said[1])]
        it.client.copy_to_clipboard("a" * 100_000)
        await it.told("not copied: 100,000 bytes")
        assert len(sent) == 1


@played
async def test_lists_are_selected_as_they_are_shown() -> None:
    store = ConversationStore(None)
    answer = "- [ ] milk\n- [x] " + "eggs and " * 20 + "flour"
    store.write(store.new("m"), 0, [StoredMessage("user", "q"), StoredMessage("assistant", answer)])
    async with client(store=store) as it:
        await it.sees("☑ eggs")
        it.client.screen.text_select_all()
        await it.press("ctrl+c")
        lines = it.client.clipboard.splitlines()
        assert "☐ milk" in lines and any(line.startswith("☑ eggs and eggs") for line in lines)
        assert any(line.startswith("  ") and line.endswith("and flour") for line in lines)


@contextmanager
def outside(terminal: Terminal) -> Iterator[bytearray]:
    """What a terminal that shows tmux receives."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))  # a line for tmux's status
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                shown.extend(piece)

    attach = ["tmux", "-S", str(terminal.socket), "attach"]
    process = subprocess.Popen(
        attach, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}, cwd=terminal.home,
    )  # fmt: skip
    os.close(theirs)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield shown
    finally:
        process.kill()
        process.wait()
        reader.join(5)
        os.close(ours)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed (Debian: tmux)")
def test_tmux_and_the_terminal_outside_of_it(terminal: Terminal) -> None:
    terminal.start("-n", "8")
    terminal.sees("new conversation")
    with outside(terminal) as shown:
        terminal.type("hello")
        terminal.press("Enter")
        terminal.sees("Cut here")
        terminal.press("F6")
        terminal.sees("copied into tmux")
        copied = terminal.tmux("show-buffer")
        assert copied.strip()
        deadline = time.monotonic() + 30
        while not (sent := re.search(rb"\x1b\]52;c?;([A-Za-z0-9+/=]+)", bytes(shown))):
            assert time.monotonic() < deadline, bytes(shown)[-2000:]
            time.sleep(0.05)
        assert base64.b64decode(sent[1]).decode() == copied
        terminal.tmux("set-option", "-s", "set-clipboard", "off")
        terminal.press("F6")
        terminal.sees("set-clipboard is off")
