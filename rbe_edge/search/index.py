"""An index: passages of text files with their vectors, in one SQLite file.

Every change is one transaction. The vectors of a file of text lie together, as little-endian float32, and a search
reads them all: a product of the matrix with the query is faster at these sizes than a structure for search (docs/
encoders.md has the figures). Paths are bytes, as the system has them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge.errors import RbeError
from rbe_edge.search.documents import State
from rbe_edge.search.passages import Passage
from rbe_edge.store.database import SQLITE_ERRORS, advice, checked, transaction
from rbe_edge.store.private import make_private_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self  # part of typing from Python 3.11 on

    Floats = npt.NDArray[np.float32]

_APPLICATION = 0x52424549
_VERSION = 1
_SCHEMA = """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE folders (path BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL UNIQUE,
        changed INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        digest TEXT NOT NULL,
        vectors BLOB NOT NULL
    );
    CREATE TABLE passages (
        file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        line INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (file, number)
    ) WITHOUT ROWID
"""
_BUSY_TIMEOUT_S = 5.0  # how long to wait for another program's write


class IndexFileError(RbeError):
    """An index cannot be read or written; what it held before is unchanged."""


@dataclass(frozen=True)
class MadeWith:
    """The model of an index. fingerprint: of its file (fingerprint.py). name, path: for a person, and to open it again.
    width: numbers of a vector. passage_tokens: how long passages are at most."""

    fingerprint: str
    name: str
    path: str
    width: int
    passage_tokens: int


@dataclass(frozen=True)
class Known:
    """A file of text in the index. id: of the index's own."""

    id: int
    state: State
    digest: str


@dataclass(frozen=True)
class NewFile:
    """What an index is to hold of a file. vectors: float32 [passages][width]."""

    path: Path
    state: State
    digest: str
    passages: Sequence[Passage]
    vectors: Floats


@dataclass(frozen=True)
class Found:
    """A passage that was found. line: where it begins in the file, from 1. score: its cosine with the query."""

    path: Path
    line: int
    text: str
    score: float


class Index:
    """An index, opened. For one thread.

    with Index.open(Path("notes.idx")) as index:
        index.nearest(vector, 5)
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use Index.open() or Index.make()."""
        self.path = path
        self._connection = connection
        with self._explained():
            self.made_with = self._made_with()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises IndexFileError for a file that is missing, damaged, of a newer version or no index."""
        if not path.is_file():
            raise IndexFileError(f"{path} is no index; make one: rbe index FOLDER -o {path} --model MODEL")
        return cls._opened(path)

    @classmethod
    def make(cls, path: Path, made_with: MadeWith) -> Self:
        """A new one, for its owner alone: it holds what the files say. Raises IndexFileError where something is there,
        or it cannot be made."""
        if path.exists():
            raise IndexFileError(f"{path} exists already; give another name")
        try:
            make_private_file(path)
        except OSError as error:
            raise IndexFileError(f"{path}: cannot be made ({error.strerror}); give another place") from None
        try:
            with explained(path), closing(_connect(path)) as connection, transaction(connection):
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                facts = {name: str(value) for name, value in vars(made_with).items()}
                connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return cls._opened(path)

    @classmethod
    def _opened(cls, path: Path) -> Self:
        with explained(path):
            connection = _connect(path)
        try:
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Closing twice is allowed."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what it holds ----

    def folders(self) -> list[Path]:
        """Those that were put in, by name."""
        with self._explained():
            found = self._connection.execute("SELECT path FROM folders ORDER BY path")
            return [_path(*checked(row, bytes)) for row in found]

    def files(self) -> dict[Path, Known]:
        """All files of text that it holds."""
        with self._explained():
            rows = self._connection.execute("SELECT path, id, changed, bytes, digest FROM files")
            found = (checked(row, bytes, int, int, int, str) for row in rows)
            return {_path(path): Known(id, State(*state), digest) for path, id, *state, digest in found}

    def count(self) -> int:
        """Passages."""
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def nearest(self, vector: Floats, most: int) -> list[Found]:
        """The passages whose vectors have the largest cosine with a query's, float32 [width] of length 1, best first.
        Raises IndexFileError where the index is damaged."""
        import numpy as np

        with self._explained():
            files: list[int] = []
            parts: list[Floats] = []
            for row in self._connection.execute("SELECT id, vectors FROM files WHERE length(vectors) > 0"):
                file, blob = checked(row, int, bytes)
                if len(blob) % (4 * self.made_with.width):
                    raise sqlite3.DatabaseError("vectors of another length")
                files.append(file)  # a product for each: all vectors together are never in memory
                parts.append(np.frombuffer(blob, dtype="<f4").reshape(-1, self.made_with.width) @ vector)
            if not files:
                return []
            scores = np.concatenate(parts)
            firsts = np.cumsum([0, *map(len, parts)])
            best = np.argsort(-scores, kind="stable")[:most]
            places = np.searchsorted(firsts, best, side="right") - 1
            return [
                self._found(files[place], int(at - firsts[place]), float(scores[at]))
                for place, at in zip(places, best, strict=True)
            ]

    def _found(self, file: int, number: int, score: float) -> Found:
        row = self._connection.execute(
            "SELECT path, line, text FROM passages JOIN files ON file = id WHERE file = ? AND number = ?",
            (file, number),
        ).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("a vector without a passage")
        path, line, text = checked(row, bytes, int, str)
        return Found(_path(path), line, text, min(1.0, max(-1.0, score)))

    # ---- changes ----

    def add_folder(self, folder: Path) -> None:
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO folders VALUES (?)", (os.fsencode(folder),))

    def put(self, files: Sequence[NewFile]) -> None:
        """Puts files in, in the place of what they held before."""
        with self._writing() as connection:
            for file in files:
                connection.execute("DELETE FROM files WHERE path = ?", (os.fsencode(file.path),))
                vectors = file.vectors.astype("<f4", copy=False).tobytes()
                values = (os.fsencode(file.path), file.state.changed, file.state.n_bytes, file.digest, vectors)
                made = connection.execute(
                    "INSERT INTO files (path, changed, bytes, digest, vectors) VALUES (?, ?, ?, ?, ?)", values
                )
                connection.executemany(
                    "INSERT INTO passages VALUES (?, ?, ?, ?)",
                    [(made.lastrowid, number, one.line, one.text) for number, one in enumerate(file.passages)],
                )

    def touch(self, known: Known, state: State) -> None:
        """A file was changed, and its bytes are the same."""
        with self._writing() as connection:
            connection.execute("UPDATE files SET changed = ? WHERE id = ?", (state.changed, known.id))

    def forget(self, files: Sequence[Known]) -> None:
        """Takes files out."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM files WHERE id = ?", [(known.id,) for known in files])

    # ---- inside ----

    def _made_with(self) -> MadeWith:
        application, version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise IndexFileError(f"{self.path} is no index of `rbe index`; give another name")
        if version > _VERSION:
            raise IndexFileError(f"{self.path}: is of a newer rbe (version {version}, this one reads {_VERSION})")
        facts: dict[str, Any] = dict(self._connection.execute("SELECT name, value FROM facts").fetchall())
        try:
            numbers: dict[str, Any] = {name: int(facts.pop(name)) for name in ("width", "passage_tokens")}
            found = MadeWith(**facts, **numbers)
            checked((found.fingerprint, found.name, found.path), str, str, str)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise sqlite3.DatabaseError("facts are missing") from None
        if not (0 < found.width < 1 << 24 and found.passage_tokens > 0):
            raise sqlite3.DatabaseError("facts are wrong")
        return found

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or on any error nothing."""
        with self._explained(), transaction(self._connection):
            yield self._connection

    def _explained(self) -> Any:
        return explained(self.path)


def _path(stored: bytes) -> Path:
    if b"\0" in stored:
        raise sqlite3.DatabaseError("a path that no file has")
    return Path(os.fsdecode(stored))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", _BUSY_TIMEOUT_S, uri=True)  # never a new file
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite raises into one line that says what to do."""
    try:
        yield
    except SQLITE_ERRORS as error:
        message = advice(error, full="free some space", damaged="delete it and make it anew with `rbe index`")
        if "not a database" in str(error):
            message = "is no index of `rbe index`; give another name"
        raise IndexFileError(f"{path}: {message}") from error
