"""What packings keep in the user's cache: whole or not at all, for their owner, and never too much."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rbe_edge.packing.kept import KEPT_DAYS, Kept, key_of, room_taken

ONE, TWO, THREE = (key_of("item", number) for number in range(3))


def test_keys() -> None:
    assert len({key_of("a", "b"), key_of("ab"), key_of("a", "b", ""), key_of("b", "a"), key_of("a", 1)}) == 5
    assert key_of("a", 1) == key_of("a", "1") and len(ONE) == 64


def test_it_is_kept_and_forgotten(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    assert kept.read(ONE) is None and not kept.has(ONE)
    kept.write(ONE, b"ab", memoryview(b"cd"))
    assert Kept(tmp_path / "kept").read(ONE) == b"abcd" and kept.has(ONE)
    kept.write(ONE, b"")
    assert kept.read(ONE) == b""
    kept.forget([ONE, TWO])
    assert kept.read(ONE) is None and kept.problem is None and list((tmp_path / "kept").iterdir()) == []


def test_what_is_cut_off_or_damaged_does_not_count(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(ONE, bytes(range(200)))
    path = tmp_path / f"{ONE}.kept"
    good = path.read_bytes()
    for bad in (b"", good[:10], good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:], good[:99] + good[100:] + b"x"):
        path.write_bytes(bad)
        assert kept.read(ONE) is None
    path.write_bytes(good)
    path.rename(tmp_path / f"{TWO}.kept")  # it is of another item
    assert kept.read(TWO) is None


def piped(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def linked(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_linked(path: Path, victim: Path) -> None:
    os.link(victim, path)


@pytest.mark.parametrize("plant", [piped, linked, hard_linked])
def test_nothing_is_read_or_written_through(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    kept, victim = Kept(tmp_path / "kept"), tmp_path / "victim"
    kept.write(ONE, b"data")
    path = tmp_path / "kept" / f"{ONE}.kept"
    victim.write_bytes(path.read_bytes())
    before = victim.read_bytes()
    path.unlink()
    plant(path, victim)
    assert kept.read(ONE) is None
    kept.write(ONE, b"else")
    assert kept.read(ONE) == b"else" and victim.read_bytes() == before


def test_a_directory_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "kept").symlink_to("elsewhere")
    kept = Kept(tmp_path / "kept")
    kept.write(ONE, b"data")
    assert kept.problem is not None and "a link" in kept.problem and list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    os.chown(tmp_path / "kept", 12345, -1)
    kept = Kept(tmp_path / "kept")
    kept.write(ONE, b"data")
    assert kept.problem is not None and list((tmp_path / "kept").iterdir()) == []


def test_rights(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o777)
    before = os.umask(0)
    try:
        Kept(tmp_path / "kept").write(ONE, b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "kept" / f"{ONE}.kept").stat().st_mode & 0o777 == 0o600


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path, most_bytes=2500)
    for age, key in ((300, ONE), (200, TWO)):
        kept.write(key, bytes(1000))
        then = time.time() - age
        os.utime(tmp_path / f"{key}.kept", (then, then))
    assert kept.read(ONE) is not None  # which makes it the newest
    kept.write(THREE, bytes(1000))
    assert [kept.has(key) for key in (ONE, TWO, THREE)] == [True, False, True]


def test_it_is_swept(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(ONE, b"old")
    kept.write(TWO, b"new")
    (tmp_path / ".abc.part").write_bytes(b"of a killed process")
    (tmp_path / ".def.part").write_bytes(b"being written")
    (tmp_path / "notes.txt").write_text("not ours")
    for name, age in ((f"{ONE}.kept", KEPT_DAYS * 86400 + 60), (".abc.part", 7200), ("notes.txt", 1e8)):
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    Kept(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".def.part", f"{TWO}.kept", "notes.txt"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        kept.write(ONE, b"data")
    assert kept.problem is not None and "no room" in kept.problem and "\n" not in kept.problem
    kept.write(TWO, b"data")
    assert kept.read(TWO) is None and list(tmp_path.iterdir()) == []


def test_the_copy_goes_with_the_process(tmp_path: Path) -> None:
    with Kept(tmp_path).scratch() as directory:
        (directory / "copy").write_bytes(bytes(100))
        assert directory.is_relative_to(tmp_path)
        with Kept(tmp_path).scratch() as other:  # of another process at the same time
            assert other != directory and (directory / "copy").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_room_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert room_taken().bytes == 0
    Kept().write(ONE, bytes(1000))
    room = room_taken()
    assert room.directory is not None and room.directory.is_relative_to(tmp_path)
    assert 1000 < room.bytes < 1100
