"""What SQLite files share: one transaction, and what to do where SQLite fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


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


def advice(error: sqlite3.Error, *, full: str, damaged: str) -> str:
    """One line behind the name of a file. full: what to do where the disk is; damaged: where the file is."""
    reason = " ".join(str(error).split())
    if "full" in reason:
        return f"the disk is full, so this was not saved; {full}"
    if isinstance(error, sqlite3.OperationalError) and "locked" in reason:
        return "another program is writing to it; try again when it has finished"
    if isinstance(error, sqlite3.OperationalError):
        return f"cannot be opened or written ({reason}); check its permissions and the disk"
    return f"is damaged ({reason}); {damaged}"
