"""Conversations and settings in one SQLite file.

Every change is one transaction: it is on disk whole, or not at all. The file is in WAL mode, so that several programs
may read while one writes; within a program one connection writes, under a lock, from any thread.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbe_edge.errors import RbeError
from rbe_edge.store import places
from rbe_edge.store.database import SQLITE_ERRORS, advice, checked, checked_times, transaction
from rbe_edge.store.private import keep_private, make_private_file
from rbe_edge.store.stored_message import StoredMessage as StoredMessage
from rbe_edge.store.stored_message import attached_text, messages_of, storable, with_answers

#: One script per version of the schema; the file's user_version counts those that have run.
_SCHEMA = (
    """
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        system TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    );
    CREATE INDEX conversations_by_time ON conversations (updated);
    CREATE TABLE messages (
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        content TEXT NOT NULL,
        PRIMARY KEY (conversation, position)
    ) WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    # All answers that were given to a question, where there are several; messages holds the one that counts. Of the
    # files that a message holds at its end, JSON: name and number of characters of each.
    """
    CREATE TABLE answers (
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        number INTEGER NOT NULL,
        content TEXT NOT NULL,
        counts INTEGER NOT NULL,
        PRIMARY KEY (conversation, position, number)
    ) WITHOUT ROWID;
    ALTER TABLE messages ADD COLUMN attached TEXT NOT NULL DEFAULT ''
    """,
)

_ADVICE = {
    "full": "free some space, it is tried again with the next message",
    "damaged": "it was left as it is: move it away, or restore a copy of it",
}
_BUSY_TIMEOUT_S = 5.0  # how long to wait for another program's write


class StoreError(RbeError):
    """The conversations cannot be read or written; what was stored before is unchanged."""


class ConversationChanged(StoreError):
    """Another program has written to the conversation; nothing was overwritten."""


@dataclass(frozen=True)
class Summary:
    """A conversation in a list. updated: seconds since 1970."""

    id: int
    title: str
    model: str
    updated: float
    n_messages: int


@dataclass(frozen=True)
class StoredConversation:
    """model: the path of the .rbe file, "" for the demo. system: what the model is told first. Times: seconds since
    1970."""

    id: int
    title: str
    model: str
    system: str
    created: float
    updated: float
    messages: tuple[StoredMessage, ...]


class ConversationStore:
    """The file of conversations, opened. Any thread may call; calls wait for one another.

    with ConversationStore(path) as store:
        conversation = store.new("Greetings", model="smol.rbe", system="")
        store.write(conversation, 0, [StoredMessage("user", "Hello!")])
    """

    def __init__(self, path: Path | None) -> None:
        """path: made where it is missing, with its directories, for its owner alone; rights that others have on it are
        taken away. None: in memory, gone when closed.

        Raises StoreError for a file that is damaged, of a newer version, or cannot be opened; it is left as it is."""
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._explained():
            if path is not None:
                places.make_directory(path.parent)
                real = os.path.realpath(path)  # as SQLite does
                make_private_file(Path(real))
                for end in ("-wal", "-shm"):  # new ones get the rights of the file
                    keep_private(Path(real + end))
            connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a Raspberry Pi may lose power; each answer is flushed to disk
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what a person deletes is gone
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        if connection.execute("PRAGMA user_version").fetchone()[0] < len(_SCHEMA):
            with transaction(connection):  # two programs may start at once: one of them makes the tables
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                for script in _SCHEMA[version:]:
                    for statement in script.split(";"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(_SCHEMA)}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_SCHEMA):
            raise StoreError(
                f"{self.path}: is of a newer rbe (version {version}, this one reads {len(_SCHEMA)}); update rbe"
            )

    def close(self) -> None:
        """Closes the file; closing twice is allowed."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> ConversationStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what SQLite and the system raise into one line that says what to do."""
        try:
            yield
        except SQLITE_ERRORS as error:
            raise StoreError(f"{self.path or 'the conversations'}: {advice(error, **_ADVICE)}") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = _ADVICE["full"] if full else "check its permissions and the disk"
            raise StoreError(f"{error.filename or self.path}: {error.strerror or error}; {what}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            if self._connection is None:
                raise StoreError("the conversations have been closed")
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or on any error nothing."""
        with self._reading() as connection, transaction(connection):
            yield connection

    # ---- conversations ----

    def new(self, title: str, *, model: str = "", system: str = "") -> int:
        """An empty conversation; its id, which is never used again."""
        now = time.time()
        with self._writing() as connection:
            row = connection.execute(
                "INSERT INTO conversations (title, model, system, created, updated) VALUES (?, ?, ?, ?, ?)",
                (*map(storable, (title, model, system)), now, now),
            )
            assert row.lastrowid is not None
            return row.lastrowid

    def list(self, search: str = "", limit: int = 500) -> list[Summary]:
        """The latest conversations whose title or messages hold `search` (case of a to z ignored), newest first."""
        pattern = "%" + storable(search).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        with self._reading() as connection:
            rows = connection.execute(
                r"""
                SELECT id, title, model, updated, (SELECT count(*) FROM messages WHERE conversation = id)
                FROM conversations
                WHERE title LIKE :pattern ESCAPE '\' OR EXISTS (
                    SELECT 1 FROM messages WHERE conversation = id AND content LIKE :pattern ESCAPE '\')
                ORDER BY updated DESC, id DESC LIMIT :limit
                """,
                {"pattern": pattern, "limit": limit},
            )
            found = [Summary(*checked(row, int, str, str, float, int)) for row in rows]
            checked_times(*(summary.updated for summary in found))
            return found

    def ids(self) -> set[int]:
        """Of all conversations."""
        with self._reading() as connection:
            return {number for (number,) in connection.execute("SELECT id FROM conversations")}

    def load(self, conversation: int) -> StoredConversation:
        with self._reading() as connection:
            row = connection.execute(
                "SELECT id, title, model, system, created, updated FROM conversations WHERE id = ?", (conversation,)
            ).fetchone()
            if row is None:
                raise StoreError("the conversation has been deleted; choose another")
            messages = connection.execute(
                "SELECT role, content, attached FROM messages WHERE conversation = ? ORDER BY position", (conversation,)
            )
            found, title, model, system, created, updated = checked(row, int, str, str, str, float, float)
            checked_times(created, updated)
            said = messages_of(messages)
            said = with_answers(
                said,
                connection.execute(
                    "SELECT position, content, counts FROM answers WHERE conversation = ? ORDER BY position, number",
                    (conversation,),
                ),
            )
            return StoredConversation(found, title, model, system, created, updated, said)

    def write(
        self, conversation: int, position: int, messages: Sequence[StoredMessage], known: float | None = None
    ) -> float:
        """Replaces what the conversation holds from `position` on; gives the time that it now has as `updated`.

        known: the `updated` of what the caller has seen, None where that does not matter. Raises ConversationChanged
        where it has another, or fewer messages than `position`, StoreError where the conversation was deleted."""
        with self._writing() as connection:
            before, count = connection.execute(
                "SELECT (SELECT updated FROM conversations WHERE id = :id), count(*) FROM messages"
                " WHERE conversation = :id",
                {"id": conversation},
            ).fetchone()
            before, count = checked((before or 0.0, count), float, int)
            checked_times(before)
            now = max(time.time(), math.nextafter(before, math.inf))
            self._touch(connection, conversation, "updated = ?", now)
            if count < position or known not in (None, before):
                raise ConversationChanged("another program has changed this conversation; open it again")
            for table in ("messages", "answers"):
                connection.execute(
                    f"DELETE FROM {table} WHERE conversation = ? AND position >= ?", (conversation, position)
                )
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
                [
                    (conversation, index, message.role, storable(message.content), attached_text(message.attached))
                    for index, message in enumerate(messages, start=position)
                ],
            )
            connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
                [
                    (conversation, index, number, storable(answer), number == message.chosen)
                    for index, message in enumerate(messages, start=position)
                    for number, answer in enumerate(message.answers)
                ],
            )
        return now

    def rename(self, conversation: int, title: str) -> None:
        with self._writing() as connection:
            self._touch(connection, conversation, "title = ?", storable(title))

    def set_system(self, conversation: int, system: str) -> None:
        with self._writing() as connection:
            self._touch(connection, conversation, "system = ?", storable(system))

    def set_model(self, conversation: int, model: str) -> None:
        with self._writing() as connection:
            self._touch(connection, conversation, "model = ?", storable(model))

    def delete(self, conversation: int) -> None:
        """Deleting what is no longer there is allowed."""
        with self._writing() as connection:
            connection.execute("DELETE FROM conversations WHERE id = ?", (conversation,))

    @staticmethod
    def _touch(connection: sqlite3.Connection, conversation: int, assignment: str, value: object) -> None:
        done = connection.execute(f"UPDATE conversations SET {assignment} WHERE id = ?", (value, conversation))
        if done.rowcount == 0:
            raise StoreError("the conversation has been deleted; start another")

    # ---- settings ----

    def settings(self) -> dict[str, Any]:
        """What save_settings kept; values that are no JSON are left out."""
        with self._reading() as connection:
            rows = connection.execute("SELECT name, value FROM settings").fetchall()
        found = {}
        for name, value in rows:
            try:
                found[name] = json.loads(value)
            except (ValueError, TypeError, RecursionError):
                continue
        return found

    def save_settings(self, settings: dict[str, Any]) -> None:
        """Keeps JSON values by their names; other names stay as they are."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [(name, json.dumps(value)) for name, value in settings.items()],
            )
