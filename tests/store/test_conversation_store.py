"""Conversations in SQLite: what is kept, what is found, and what a full disk or a damaged file leaves."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from rbe_edge.store.conversations import ConversationChanged, ConversationStore, StoredMessage, StoreError
from rbe_edge.store.stored_message import Attached

HELLO = [StoredMessage("user", "Hello!"), StoredMessage("assistant", "Good morning.")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    with ConversationStore(path) as store:
        one = store.new("Greetings", model="/m.rbe", system="Be brief.")
        store.write(one, 0, HELLO)
        store.write(one, 1, [StoredMessage("assistant", "Hi \x1b[31m 🙂 \ud800")])
    with ConversationStore(path) as store:
        found = store.load(one)
    assert (found.title, found.model, found.system) == ("Greetings", "/m.rbe", "Be brief.")
    assert found.messages == (HELLO[0], StoredMessage("assistant", "Hi \x1b[31m 🙂 ?"))
    assert found.created <= found.updated


def test_search_rename_delete(path: Path) -> None:
    with ConversationStore(path) as store:
        ids = [store.new(title) for title in ("one 100%", "two_2", "three")]
        store.write(ids[2], 0, [StoredMessage("user", "The NEEDLE in 50% of it")])
        assert [summary.id for summary in store.list()] == ids[::-1]  # the latest first
        assert [summary.id for summary in store.list("needle")] == [ids[2]]
        assert [summary.id for summary in store.list("0%")] == [ids[2], ids[0]]  # a percent sign is itself
        assert [summary.id for summary in store.list("_")] == [ids[1]]
        assert store.list("\\") == [] and store.list("' OR 1=1 --") == []
        store.rename(ids[0], "new name")
        assert store.load(ids[0]).title == "new name"
        store.delete(ids[2])
        store.delete(ids[2])
        assert store.list("needle") == []
        with pytest.raises(StoreError, match="deleted"):
            store.load(ids[2])
        with pytest.raises(StoreError, match="deleted"):
            store.write(ids[2], 0, HELLO)
        assert store.new("four") not in ids  # an id is never used again: saved state goes by it
    assert b"NEEDLE" not in path.read_bytes()  # what is deleted is gone from the file


def test_settings(path: Path) -> None:
    with ConversationStore(path) as store:
        store.save_settings({"temperature": None, "top_k": 3})
        store.save_settings({"top_k": 4, "system": "ü"})
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO settings VALUES ('damaged', '{')")
    raw.close()
    with ConversationStore(path) as store:
        assert store.settings() == {"temperature": None, "top_k": 4, "system": "ü"}


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with ConversationStore(path) as store:
        one = store.new("Greetings")
        store.write(one, 0, HELLO)
        connection = store._connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="disk is full"):
            store.write(one, 0, [StoredMessage("user", "x" * 100_000)])
        assert store.load(one).messages == tuple(HELLO)
        connection.execute("PRAGMA max_page_count = 100000")
        store.write(one, 2, [StoredMessage("user", "x" * 100_000)])  # there is room again
        assert len(store.load(one).messages) == 3


def test_a_damaged_file_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"damaged.*left as it is"):
        ConversationStore(path)
    assert path.read_bytes() == before


def test_damage_in_the_middle_is_found(path: Path) -> None:
    with ConversationStore(path) as store:
        one = store.new("Greetings")
        store.write(one, 0, [StoredMessage("user", "word " * 50_000)])
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        ConversationStore(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("UPDATE conversations SET title = x'ff'", "a value is of type bytes, not str"),
        ("UPDATE conversations SET updated = 'soon'", "a value is of type str, not float"),
        ("UPDATE conversations SET updated = 9e99", r"a time is 9e\+99 seconds since 1970"),
        ("UPDATE conversations SET updated = -1.0", "a time is -1 seconds"),
        ("UPDATE conversations SET title = 'a', created = 1e12", r"a time is 1e\+12 seconds"),
        ("UPDATE messages SET content = x'00'", "a value is of type bytes, not str"),
        ("PRAGMA ignore_check_constraints = ON; UPDATE messages SET role = 'king'", "CHECK constraint"),
        (
            "CREATE TABLE other AS SELECT * FROM messages; DROP TABLE messages; ALTER TABLE other RENAME TO messages;"
            "UPDATE messages SET role = 'king'",
            "a message is of `king`",
        ),
        ("UPDATE answers SET counts = 'x'", "a value is of type str, not int"),
    ],
)
def test_values_that_another_program_wrote(path: Path, change: str, match: str) -> None:
    with ConversationStore(path) as store:
        number = store.new("Greetings")
        store.write(number, 0, [HELLO[0], StoredMessage("assistant", "Hi", ("Hi", "Ho"), 0)])
    with sqlite3.connect(path) as raw:
        raw.executescript(change)
    with pytest.raises(StoreError, match=f"is damaged .*{match}") as caught, ConversationStore(path) as store:
        store.list()
        store.load(number)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attached", ["[[1, Infinity]]", "[" * 100_000, "[1]", '{"ab": 1}', "[[1, 2, 3]]"])
def test_damaged_lists_of_files_are_left_out(path: Path, attached: str) -> None:
    with ConversationStore(path) as store:
        number = store.new("Greetings")
        store.write(number, 0, HELLO[:1])
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE messages SET attached = ?", (attached,))
            raw.execute("INSERT INTO settings VALUES ('a', x'ff'), ('b', 7), ('c', '3')")
        assert store.load(number).messages[0].attached == ()
        assert store.settings() == {"b": 7, "c": 3}


def test_a_message_of_sqlite_that_is_no_utf8(path: Path) -> None:
    """SQLite quotes the damaged schema."""
    with ConversationStore(path):
        pass
    data = path.read_bytes()
    data = data.replace(b"indexconversations_by", b"index\xceonversations_by").replace(b"CREATE INDEX", b"CREATX INDEX")
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is damaged .*no UTF-8"):
        ConversationStore(path)


def test_a_newer_version_is_refused(path: Path) -> None:
    ConversationStore(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreError, match="newer rbe"):
        ConversationStore(path)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError):
        ConversationStore(tmp_path / "data" / "conversations.db")


def test_another_program_that_changed_the_conversation(path: Path) -> None:
    with ConversationStore(path) as store, ConversationStore(path) as other:
        one = store.new("Greetings")
        store.write(one, 0, HELLO)
        other.write(one, 0, HELLO[:1])
        with pytest.raises(ConversationChanged, match="another program"):
            store.write(one, 2, HELLO)
        assert other.load(one).messages == tuple(HELLO[:1])
        known = store.load(one).updated
        mine = store.write(one, 1, HELLO[1:], known)
        assert mine > known and store.load(one).updated == mine
        store.rename(one, "A name is no reason")
        theirs = other.write(one, 2, HELLO, mine)
        with pytest.raises(ConversationChanged):
            store.write(one, 2, [StoredMessage("user", "mine")], mine)
        assert store.load(one).messages == (*HELLO, *HELLO) and store.load(one).updated == theirs


def test_many_threads_write_in_turn(path: Path) -> None:
    with ConversationStore(path) as store:
        one = store.new("Greetings")

        def add(text: str) -> None:
            for index in range(5):
                store.write(one, 0, [StoredMessage("user", f"{text} {index}")])
                store.list(text)

        threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.load(one).messages) == 1
    with pytest.raises(StoreError, match="closed"):
        store.list()


def test_several_answers_to_a_question(tmp_path: Path) -> None:
    with ConversationStore(tmp_path / "c.db") as store:
        one = store.new("one")
        said = [
            StoredMessage("user", "a"),
            StoredMessage("assistant", "y", ("x", "y", "z"), 1),
            StoredMessage("user", "b"),
            StoredMessage("assistant", "c"),
        ]
        store.write(one, 0, said)
        assert list(store.load(one).messages) == said
        store.write(one, 1, [StoredMessage("assistant", "x", ("x", "y"), 0)])
        assert list(store.load(one).messages) == [said[0], StoredMessage("assistant", "x", ("x", "y"), 0)]
        store.delete(one)
        assert store._connection is not None
        assert store._connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "c.db")
    raw.executescript(
        """
        CREATE TABLE conversations (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, model TEXT NOT NULL,
            system TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL);
        CREATE INDEX conversations_by_time ON conversations (updated);
        CREATE TABLE messages (conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
            position INTEGER NOT NULL, role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
            content TEXT NOT NULL, PRIMARY KEY (conversation, position)) WITHOUT ROWID;
        CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        INSERT INTO conversations VALUES (1, 'one', '', '', 1.0, 2.0);
        INSERT INTO messages VALUES (1, 0, 'user', 'a'), (1, 1, 'assistant', 'b');
        PRAGMA user_version = 1;
        """
    )
    raw.close()
    with ConversationStore(tmp_path / "c.db") as store:
        assert store.load(1).messages == (StoredMessage("user", "a"), StoredMessage("assistant", "b"))
        changed = (
            StoredMessage("user", "q\n\nxyz", attached=(Attached("f", 3),)),
            StoredMessage("assistant", "c", ("b", "c"), 1),
        )
        store.write(1, 0, changed)
        assert store.load(1).messages == changed
