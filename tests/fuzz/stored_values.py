"""Files of SQLite as another program may have left them: any bytes, or a good file with other values in its columns."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

_BYTES = "bytes:"  # begins a text that stands for its bytes


def _value(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return value.removeprefix(_BYTES).encode() if isinstance(value, str) and value.startswith(_BYTES) else value


def write(path: Path, data: bytes, good: bytes) -> None:
    """data: of the file itself; or JSON: an object of values by "TABLE.COLUMN", which replace those of `good`."""
    changes: Any = None
    if data.startswith(b"{"):
        with suppress(ValueError, RecursionError):
            changes = json.loads(data)
    if not isinstance(changes, dict):
        path.write_bytes(data)
        return
    path.write_bytes(good)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for table in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table[0]})").fetchall():
                place = f"{table[0]}.{column}"
                with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):  # values that no column takes
                    if place in changes:
                        connection.execute(f"UPDATE {table[0]} SET {column} = ?", (_value(changes[place]),))
