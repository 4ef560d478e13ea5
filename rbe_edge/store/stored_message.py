"""A message, and how it is written into the tables of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rbe_edge.store.database import checked
from rbe_edge.terminal_text import one_line

ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Attached:
    """A file whose text stands at the end of a message, behind an empty line."""

    name: str
    n_characters: int


@dataclass(frozen=True)
class StoredMessage:
    """role: `user` or `assistant`. answers: all that were given to the question, in the order in which they were given;
    none where there is one alone. chosen: which of them the content is. attached: the files that the content ends
    with."""

    role: str
    content: str
    answers: tuple[str, ...] = ()
    chosen: int = 0
    attached: tuple[Attached, ...] = ()


def messages_of(rows: Iterable[Sequence[Any]]) -> tuple[StoredMessage, ...]:
    """rows: role, text, and attached_text() of each. Raises sqlite3.DatabaseError for what is none."""
    found = []
    for row in rows:
        role, text, files = checked(row, str, str, str)
        if role not in ROLES:
            raise sqlite3.DatabaseError(f"a message is of `{one_line(role, 40)}`, neither user nor assistant")
        found.append(StoredMessage(role, text, attached=attached_of(files)))
    return tuple(found)


def with_answers(messages: tuple[StoredMessage, ...], rows: Iterable[Sequence[Any]]) -> tuple[StoredMessage, ...]:
    """rows: position, text, and whether it is the one that counts, of each answer where there are several."""
    answers: dict[int, list[str]] = {}
    chosen: dict[int, int] = {}
    for row in rows:
        position, content, counts = checked(row, int, str, int)
        if counts:
            chosen[position] = len(answers.get(position, []))
        answers.setdefault(position, []).append(content)
    return tuple(
        replace(message, answers=tuple(answers[position]), chosen=chosen[position]) if position in chosen else message
        for position, message in enumerate(messages)
    )


def attached_text(attached: Sequence[Attached]) -> str:
    """As JSON."""
    return json.dumps([[storable(file.name), file.n_characters] for file in attached]) if attached else ""


def attached_of(stored: str) -> tuple[Attached, ...]:
    """What attached_text() wrote; nothing where it is damaged."""
    try:
        return tuple(Attached(str(name), int(n)) for name, n in json.loads(stored)) if stored else ()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return ()


def storable(text: str) -> str:
    """Halves of surrogate pairs, which UTF-8 and so SQLite cannot hold, become a replacement character."""
    return text.encode("utf-8", "replace").decode("utf-8")
