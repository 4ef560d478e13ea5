"""Files of the client, the cache and the folders with changed bytes, and cut: one line of an error of rbe, or what is
there is read; nothing else. (Models, states and policies: native/tests/test_damage.c.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rbe_edge.errors import RbeError
from rbe_edge.models.folder import Origin, origin_of, set_origin
from rbe_edge.packing.kept import Kept, key_of
from rbe_edge.store.conversations import ConversationStore, StoredMessage


def check_damage(path: Path, read: Callable[[], object], whole: object, step: int, first: int = 256) -> int:
    """How many of the damaged files were refused."""
    data = path.read_bytes()
    assert read() == whole
    refused = 0
    positions = [*range(min(first, len(data))), *range(first, len(data), step)]
    damaged = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in positions]
    for content in [*damaged, *(data[:at] for at in positions)]:
        path.write_bytes(content)
        try:
            read()
        except RbeError as error:
            refused += 1
            assert path.name in str(error) and "\n" not in str(error)
            assert path.read_bytes() == content, "a damaged file stays as it is"
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
    path.write_bytes(data)
    assert read() == whole
    return refused


def test_conversations(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    with ConversationStore(path) as store:
        number = store.new("first", model="m.rbe", system="be brief")
        store.write(number, 0, [StoredMessage("user", "one"), StoredMessage("assistant", "two")])
        store.save_settings({"theme": "light"})

    def read() -> object:
        with ConversationStore(path) as store:
            summaries = store.list()
            loaded = [store.load(one.id) for one in summaries]
            return [one.title for one in summaries], [one.messages for one in loaded], store.settings()

    assert check_damage(path, read, read(), 997, 110) > 100


def test_where_a_model_came_from(tmp_path: Path) -> None:
    origin = Origin("org/name", "stamp", 4.0, "quick")
    set_origin(tmp_path / "m.rbe", origin)

    def read() -> object:
        return origin_of(tmp_path / "m.rbe")

    assert check_damage(tmp_path / "m.origin.json", read, origin, 1) == 0  # nothing is known then, which is no error


def test_items_of_the_cache(tmp_path: Path) -> None:
    """No damage is taken for an item; what is damaged goes."""
    key = key_of("a model")
    kept = Kept(tmp_path / "cache")
    kept.write(key, b"what was computed")
    (path,) = (tmp_path / "cache").glob("*.kept")
    data = path.read_bytes()
    for at in range(len(data)):
        for content in (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], data[:at]):
            path.write_bytes(content)
            assert kept.read(key) is None and not path.exists()
    path.write_bytes(data)
    assert kept.read(key) == b"what was computed"
