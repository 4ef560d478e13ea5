"""What a person may write instead of a message: commands that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rbe_edge.errors import OptionError


@dataclass(frozen=True)
class Command:
    """takes: what may stand behind it, "" for nothing. what: it does, for people."""

    name: str
    takes: str
    what: str


COMMANDS = (
    Command("help", "", "all keys and commands"),
    Command("new", "", "a new conversation"),
    Command("model", "", "another model"),
    Command("settings", "", "sampling, system prompt, context, threads"),
    Command("system", "TEXT", "what the model is told first in this conversation; alone: shows it"),
    Command("regenerate", "", "another answer to the last question"),
    Command("continue", "", "go on with an answer that was cut"),
    Command("copy", "", "copy the last answer"),
    Command("export", "", "to Markdown or JSON"),
    Command("power", "MODE", "a power mode, or auto; alone: the list of them"),
    Command("clear", "", "the same as /new"),
    Command("bye", "", "leave; exit and quit too"),
)
_BY_NAME = {command.name: command for command in COMMANDS}
_SAME = {"quit": "bye", "exit": "bye", "reset": "new"}
_LEAVING_WORDS = ("exit", "quit")


@dataclass(frozen=True)
class Asked:
    """A command, and what stands behind it."""

    name: str
    argument: str


def meaning(text: str) -> Asked | str:
    """The command, or the message that is said: `//` begins one with a slash, and a path is no command.

    Raises OptionError for a command that there is not, or one that takes nothing and was given something."""
    line = text.strip()
    if line.lower() in _LEAVING_WORDS:
        return Asked("bye", "")
    if line.startswith("//"):
        return line[1:]
    found = re.fullmatch(r"/([A-Za-z]+)(\s+(.*))?", line, re.DOTALL)
    if found is None:
        return text
    name = found[1].lower()
    command = _BY_NAME.get(_SAME.get(name, name))
    if command is None:
        raise OptionError(f"there is no command /{name}; /help lists them, // begins a message with a slash")
    argument = (found[3] or "").strip()
    if argument and not command.takes:
        raise OptionError(f"/{name} takes nothing behind it; // begins a message with a slash")
    return Asked(command.name, argument)


def as_written(text: str) -> str:
    """How a person writes a message so that it means itself."""
    return f"/{text}" if text.startswith("/") else text


def beginning_with(text: str) -> Iterator[Command]:
    """The commands that a text may become: none for one that is no slash and letters."""
    if re.fullmatch("/[A-Za-z]*", text):
        yield from (command for command in COMMANDS if command.name.startswith(text[1:].lower()))
