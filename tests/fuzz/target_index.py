"""Indexes of `rbe index` of any content: damaged ones, and those that another version wrote. What opens is searched and
changed."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import stored_values

from rbe_edge.search.documents import State
from rbe_edge.search.index import Index, IndexFileError, MadeWith, NewFile
from rbe_edge.search.passages import Passage

MOST_BYTES = 32 << 10
IS_JSON = True  # where it is no file, but values of one (stored_values)

_WIDTH = 4
_folder = tempfile.TemporaryDirectory(prefix="rbe-fuzz-")
_PATH = Path(_folder.name) / "notes.idx"
_VECTOR = np.full(_WIDTH, 0.5, np.float32)
_OTHER_VERSIONS: dict[str, tuple[str, ...]] = {
    "newer": ("PRAGMA user_version = 2",),
    "other values": ("UPDATE files SET vectors = 'text', path = 'text' || id, bytes = 'x'",),
    "other types": ("UPDATE passages SET text = x'ff', line = 'x'", "UPDATE folders SET path = x'2f0061'"),
    "other facts": ("UPDATE facts SET value = 1e400 WHERE name = 'width'", "UPDATE facts SET value = x'00' WHERE 1"),
}


def _clear() -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{_PATH}{end}").unlink(missing_ok=True)


def _files(count: int) -> list[NewFile]:
    passage = Passage(1, "Cats sleep.")
    vectors = np.full((2, _WIDTH), 0.5, np.float32)
    return [NewFile(Path(f"/n/{at}.txt"), State(7, 9), f"d{at}", [passage] * 2, vectors) for at in range(count)]


def _written(statements: tuple[str, ...]) -> bytes:
    """An index of small pages with two files, as it is after the statements."""
    _clear()
    with Index.make(_PATH, MadeWith("f", "model", "/m.rbe", _WIDTH, 64)) as index:
        index.add_folder(Path("/n"))
        index.put(_files(2))
    with closing(sqlite3.connect(_PATH, isolation_level=None)) as connection:
        for statement in ("PRAGMA page_size = 512", "VACUUM", *statements):
            connection.execute(statement)
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
        with Index.open(_PATH) as index:
            assert all(isinstance(folder, Path) for folder in index.folders())
            known = index.files()
            index.count()
            if index.made_with.width == _WIDTH:
                for found in index.nearest(_VECTOR, 3):
                    assert isinstance(found.text, str) and isinstance(found.line, int)
            index.forget(list(known.values())[:1])
            index.put(_files(1))
    except IndexFileError as error:
        assert "\n" not in str(error), "a message of one line"
