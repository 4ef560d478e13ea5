"""What SQLite files share: one transaction, and what to do where SQLite fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rbe_edge.terminal_text import one_line


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what is written within, or on any error nothing. The connection commits nothing by itself (isolation_level
    None)."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def checked(row: Sequence[Any], *kinds: type) -> Sequence[Any]:
    """The row, whose values are of these types. SQLite keeps any type in any column, and another version or a disk may
    have put one there. Raises sqlite3.DatabaseError."""
    for value, kind in zip(row, kinds, strict=True):
        if not isinstance(value, kind):
            raise sqlite3.DatabaseError(f"a value is of type {type(value).__name__}, not {kind.__name__}")
    return row


_LAST_TIME = 253_402_000_000.0  # seconds since 1970, in the last days of the year 9999


def checked_times(*times: float) -> None:
    """Raises sqlite3.DatabaseError where one of the seconds since 1970 is no date that Python can show."""
    for time in times:
        if not 0 <= time <= _LAST_TIME:
            raise sqlite3.DatabaseError(f"a time is {time:g} seconds since 1970")


#: What reading a file of SQLite raises: Python takes messages of SQLite, which quote the file, for UTF-8.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


def advice(error: Exception, *, full: str, damaged: str) -> str:
    """One line behind the name of a file. error: one of SQLITE_ERRORS. full: what to do where the disk is; damaged:
    where the file is."""
    reason = "it holds text that is no UTF-8" if isinstance(error, UnicodeDecodeError) else one_line(str(error), 200)
    if "full" in reason:
        return f"the disk is full, so this was not saved; {full}"
    if isinstance(error, sqlite3.OperationalError) and "locked" in reason:
        return "another program is writing to it; try again when it has finished"
    if isinstance(error, sqlite3.OperationalError):
        return f"cannot be opened or written ({reason}); check its permissions and the disk"
    return f"is damaged ({reason}); {damaged}"
