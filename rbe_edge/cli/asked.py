"""What a person asks on a command line: a prompt, and what stands on standard input beside it."""

from __future__ import annotations

import os
import stat
import sys

from rbe_edge.errors import OptionError


def standard_input() -> str:
    """All of it, as text without the last line break; bytes that are no UTF-8 stay the bytes they were."""
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n")


def with_attachment(prompt: str) -> str:
    """The prompt, and behind it what is piped into the command or redirected from a file, where there is any."""
    attachment = standard_input() if _is_given() else ""
    return f"{prompt}\n\n{attachment}" if attachment.strip() else prompt


def _is_given() -> bool:
    """Whether standard input is a pipe or a file. A terminal, nothing, or a socket of whoever started this is none."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # closed, or no file of the system
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def prompt_of(given: str | None) -> str:
    """Of -p: the text with its attachment; `-` or nothing: standard input alone. Raises OptionError where there is
    neither."""
    if given is not None and given != "-":
        return with_attachment(given) if given.strip() else given
    if given is None and sys.stdin.isatty():
        raise OptionError("there is no prompt; give one with -p or on standard input")
    return standard_input()
