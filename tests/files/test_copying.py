"""Bytes from one file to another: the same whatever the system can do, in pieces that it can share."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbe_edge.errors import PackError
from rbe_edge.files import copying
from rbe_edge.files.copying import PAGE, copy_range
from rbe_edge.files.new_file import NewFile

DATA = bytes(range(251)) * 200


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "source").write_bytes(DATA)
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


RANGES = [(0, 0, len(DATA)), (64, 64, 100), (64, 64 + PAGE, 3 * PAGE), (PAGE, 0, 2 * PAGE), (5, 3, 40000), (0, 0, 0)]


@pytest.mark.parametrize("start, offset, n_bytes", RANGES)
@pytest.mark.parametrize("refused", [None, errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_every_way_copies_the_same(
    source: int,
    target: int,
    start: int,
    offset: int,
    n_bytes: int,
    refused: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: Any) -> int:
        raise OSError(refused, "refused")

    if refused is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    assert copy_range(source, target, start, offset, n_bytes) == n_bytes
    assert os.pread(target, len(DATA), offset) == DATA[start : start + n_bytes]


def test_pages_go_by_themselves(source: int, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system shares whole pages alone."""
    asked = []

    def note(source: int, target: int, count: int, start: int, offset: int) -> int:
        asked.append((count, start, offset))
        return os.pwrite(target, os.pread(source, count, start), offset)

    monkeypatch.setattr(os, "copy_file_range", note, raising=False)
    monkeypatch.setattr(copying, "_AT_ONCE", 4 * PAGE)
    assert copy_range(source, target, 64, 64 + PAGE, 40000) == 40000
    assert asked[0] == (PAGE - 64, 64, 64 + PAGE) and asked[-1] == (
        (40064 % PAGE),
        40064 // PAGE * PAGE,
        40064 // PAGE * PAGE + PAGE,
    )
    for count, start, offset in asked[1:-1]:
        assert count % PAGE == start % PAGE == offset % PAGE == 0 and count <= 4 * PAGE
    assert len(asked) > 3


def test_a_source_that_ends_before(tmp_path: Path, source: int, target: int) -> None:
    assert copy_range(source, target, len(DATA) - 10, 0, 20) == 10
    with NewFile(tmp_path / "new", PackError) as file, pytest.raises(PackError, match="became shorter"):
        file.copy_range(source, 0, 0, len(DATA) + 1)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_no_reason_to_try_otherwise(
    tmp_path: Path, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with NewFile(tmp_path / "new", PackError) as file, pytest.raises(PackError, match="make room"):
        file.copy_range(source, 0, 0, 100)
