"""Files of conversations of any content: damaged ones, and those that another version wrote. What opens is read,
written to and exported."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import stored_values

from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.store.export import to_json, to_markdown
from rbe_edge.store.stored_message import Attached, StoredMessage

MOST_BYTES = 32 << 10
IS_JSON = True  # where it is no file, but values of one (stored_values)

_folder = tempfile.TemporaryDirectory(prefix="rbe-fuzz-")
_PATH = Path(_folder.name) / "conversations.sqlite3"
#: Statements that make a file such as another version could have written.
_OTHER_VERSIONS: dict[str, tuple[str, ...]] = {
    "older": ("DROP TABLE answers", "ALTER TABLE messages DROP COLUMN attached", "PRAGMA user_version = 1"),
    "newer": ("PRAGMA user_version = 3", "ALTER TABLE messages ADD COLUMN more TEXT NOT NULL DEFAULT ''"),
    "empty": ("DROP TABLE answers", "DROP TABLE messages", "DROP TABLE settings", "PRAGMA user_version = 0"),
    "other values": ("UPDATE messages SET attached = '[[1, 2]]'", "UPDATE conversations SET created = 'x'"),
    "other times": ("UPDATE conversations SET created = 9e99, updated = -9e99",),
    "other types": ("UPDATE conversations SET title = x'ff00', model = 7.5", "UPDATE messages SET content = x'c328'"),
    "other roles": ("PRAGMA ignore_check_constraints = ON", "UPDATE messages SET role = 'tool'"),
    "answers": ("UPDATE answers SET content = x'00', counts = 7", "INSERT INTO settings VALUES ('a', 'no JSON')"),
}  # fmt: skip


def _clear() -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{_PATH}{end}").unlink(missing_ok=True)


def _written(statements: tuple[str, ...]) -> bytes:
    """A file of small pages with a conversation, as it is after the statements."""
    _clear()
    with closing(sqlite3.connect(_PATH, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    with ConversationStore(_PATH) as store:
        number = store.new("Greetings", model="smol.rbe", system="Be kind.")
        answered = StoredMessage("assistant", "Hi", ("Hi", "Ho"), 0)
        store.write(number, 0, [StoredMessage("user", "Hello", attached=(Attached("a.txt", 3),)), answered])
        store.save_settings({"theme": "dark"})
    with closing(sqlite3.connect(_PATH, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode = DELETE")
    return _PATH.read_bytes()


@cache
def _good() -> bytes:
    return _written(())


def seeds() -> dict[str, bytes]:
    return {"good": _good(), **{name: _written(statements) for name, statements in _OTHER_VERSIONS.items()}}


def run(data: bytes) -> None:
    good = _good()
    _clear()
    stored_values.write(_PATH, data, good)
    try:
        with ConversationStore(_PATH) as store:
            json.dumps(store.settings())
            for summary in store.list("e"):
                assert isinstance(summary.title, str) and isinstance(summary.model, str)
            for number in sorted(store.ids())[:4]:
                _use(store, number)
            store.write(store.new("New"), 0, [StoredMessage("user", "Hello")])
            store.save_settings({"theme": "light"})
    except StoreError as error:
        assert "\n" not in str(error), "a message of one line"


def _use(store: ConversationStore, number: int) -> None:
    try:
        found = store.load(number)
        to_markdown(found)
        to_json(found)
        store.write(number, len(found.messages), [StoredMessage("user", "Hello")])
        store.rename(number, "Other")
    except StoreError as error:
        assert "\n" not in str(error), "a message of one line"
