"""Where a text that is copied goes, and how: by a program of the desktop, by tmux, by the terminal (OSC 52)."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

#: Bytes of base64 in one OSC 52. Terminals that bound it take about so many (hterm 100,000 with all around it).
MOST_OSC_52 = 75_000

_SCREEN_PIECE = 76  # of a sequence, in each string that screen passes on; it takes at most 256 bytes, or some hundreds
_PATIENCE_S = 3.0  # for a program


@dataclass(frozen=True)
class Delivery:
    """What became of a text. words: for the person. sequence: what the terminal is still to be sent, "" for nothing.
    done: False where the words say why it went nowhere."""

    words: str
    sequence: str = ""
    done: bool = True


def deliver(text: str, environment: Mapping[str, str]) -> Delivery:
    """Gives the text to the clipboard. environment: as in os.environ. Runs programs, which may take seconds; any
    thread."""
    data = text.encode("utf-8", "replace")
    desktop = _desktop(environment)
    if desktop and _run(desktop, data, environment):
        return Delivery(f"copied to the clipboard ({desktop[0]})")
    if environment.get("TMUX"):
        found = _by_tmux(data, environment)
        if found is not None:
            return found
    if environment.get("TERM") == "linux":
        return Delivery("not copied: the console of Linux has no clipboard; F5 exports", done=False)
    code = base64.b64encode(data).decode("ascii")
    if len(code) > MOST_OSC_52:
        most = MOST_OSC_52 // 4 * 3
        return Delivery(f"not copied: {len(data):,} bytes, and terminals take about {most:,}; F5 exports", done=False)
    sequence = f"\x1b]52;c;{code}\a"
    if environment.get("TMUX"):
        return Delivery("sent to the terminal's clipboard through tmux (OSC 52)", _through_tmux(sequence))
    if environment.get("STY"):
        return Delivery("sent to the terminal's clipboard through screen (OSC 52)", _through_screen(sequence))
    return Delivery("sent to the terminal's clipboard (OSC 52)", sequence)


def _desktop(environment: Mapping[str, str]) -> list[str]:
    """The program of the desktop that the person sits at; none where they sit elsewhere."""
    if environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"):
        return []
    ways = [
        (bool(environment.get("WAYLAND_DISPLAY")), ["wl-copy"]),
        (bool(environment.get("DISPLAY")), ["xclip", "-selection", "clipboard"]),
        (bool(environment.get("DISPLAY")), ["xsel", "--clipboard", "--input"]),
        (sys.platform == "darwin", ["pbcopy"]),
    ]
    path = environment.get("PATH")
    return next((command for has, command in ways if has and path and shutil.which(command[0], path=path)), [])


def _by_tmux(data: bytes, environment: Mapping[str, str]) -> Delivery | None:
    """Into tmux's buffer, and from there to the terminals that show it; None where this tmux cannot do so."""
    path = environment.get("PATH")
    if not path or shutil.which("tmux", path=path) is None:
        return None
    if not _run(["tmux", "load-buffer", "-w", "-"], data, environment):  # before tmux 3.2, or it has gone
        return None
    if _said(["tmux", "show-options", "-sv", "set-clipboard"], environment) == "off":
        return Delivery("copied into tmux's buffer alone: its option set-clipboard is off")
    return Delivery("copied into tmux's buffer, and sent to the terminal's clipboard")


def _run(command: list[str], data: bytes, environment: Mapping[str, str]) -> bool:
    """Whether the program took it. Its outputs go nowhere: xclip stays, and would keep them open."""
    try:
        done = subprocess.run(
            [shutil.which(command[0], path=environment.get("PATH")) or command[0], *command[1:]],
            input=data, env=dict(environment), timeout=_PATIENCE_S,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        return subprocess.run(
            command, env=dict(environment), timeout=_PATIENCE_S, capture_output=True, text=True, check=False
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _through_tmux(sequence: str) -> str:
    """As tmux passes it on, where its option allow-passthrough is on."""
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"


def _through_screen(sequence: str) -> str:
    pieces = [sequence[at : at + _SCREEN_PIECE] for at in range(0, len(sequence), _SCREEN_PIECE)]
    return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
