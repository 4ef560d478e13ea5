"""What people say is for their eyes alone, whatever the umask."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbe_edge.store import places
from rbe_edge.store.conversations import ConversationStore, StoredMessage, StoreError
from rbe_edge.store.states import StateFiles

WORDS = [StoredMessage("user", "private words")]


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return places.data_directory()


def others_may(directory: Path) -> list[str]:
    """What others may read, write or list, from the directory on."""
    return [str(path) for path in (directory, *directory.rglob("*")) if path.lstat().st_mode & 0o077]


def say(path: Path) -> None:
    with ConversationStore(path) as store:
        store.write(store.new("secret"), 0, WORDS)
        assert set(others_may(path.parent)) <= {str(places.states_directory())}
        assert len(list(path.parent.glob(f"{path.name}-*"))) == 2


def test_new_ones(data: Path, umask: None) -> None:
    say(places.conversations_file())
    state = StateFiles(places.states_directory()).path(1)
    assert state is not None and others_may(data) == []


def test_those_that_exist_are_put_right(data: Path) -> None:
    places.states_directory().mkdir(parents=True)
    path = places.conversations_file()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("CREATE TABLE old (x)")
    raw.commit()  # so that there is a WAL, as after a kill
    for found in (data, *data.iterdir()):
        found.chmod(0o777 if found.is_dir() else 0o666)
    assert len(others_may(data)) == 5
    say(path)
    raw.close()
    StateFiles(places.states_directory()).path(1)
    assert others_may(data) == []


def test_a_directory_of_others_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with ConversationStore(shared / "talk.db") as store:
        store.write(store.new("secret"), 0, WORDS)
        assert others_may(shared) == [str(shared)]
    StateFiles(shared).path(1)
    assert shared.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("exists", [False, True])
def test_by_a_link(data: Path, tmp_path: Path, exists: bool) -> None:
    far = tmp_path / "far"
    far.mkdir(mode=0o700)
    if exists:
        ConversationStore(far / "real.db").close()
        (far / "real.db").chmod(0o644)
    data.mkdir(parents=True)
    places.conversations_file().symlink_to(far / "real.db")
    with ConversationStore(places.conversations_file()) as store:
        store.write(store.new("secret"), 0, WORDS)
        assert others_may(far) == [] and len(list(far.iterdir())) == 3
    assert places.conversations_file().is_symlink()


def test_two_stores_in_one_program_keep_their_locks(data: Path) -> None:
    """To make the rights right must not open and close the file: that would end the locks of the first store."""
    with ConversationStore(places.conversations_file()) as first:
        one = first.new("secret")
        with first._writing():  # a transaction that lasts
            raw = sqlite3.connect(places.conversations_file(), timeout=0)
            ConversationStore(places.conversations_file()).close()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                raw.execute("BEGIN IMMEDIATE")
            raw.close()
        first.write(one, 0, WORDS)


def test_a_place_that_is_no_file(data: Path) -> None:
    data.mkdir(parents=True)
    places.conversations_file().mkdir()
    with pytest.raises(StoreError):
        ConversationStore(places.conversations_file())
    assert places.conversations_file().is_dir()
