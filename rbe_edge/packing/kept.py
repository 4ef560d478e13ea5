"""What packings keep for the next ones, in the user's cache: what an interrupted one has finished, and what any other
size of the same model needs again.

An item is a file under the hash of all that its bytes depend on (key_of). It appears whole or not at all, and ends in a
checksum. So two processes at once do no harm: both write the same. The directory is for its owner alone. It holds
KEPT_BYTES at most, of which the oldest go first, and nothing that was not used for KEPT_DAYS. Any file of it may be
removed at any time. Where nothing can be kept, packing goes on without, and `problem` says why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import tempfile
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.files.new_file import read_ours
from rbe_edge.files.scratch import remove_left, scratch_directory
from rbe_edge.files.user_cache import cache_directory

KEPT_BYTES = 8 << 30
KEPT_DAYS = 30
_PART_S = 3600  # a file that was not written to for so long is of a process that was killed

_MAGIC = b"rbe kept 1\n"
_HEAD = struct.Struct("<32sQ")  # key, bytes of the content; before it the magic, behind it the CRC-32 of all before
_CHECKSUM = struct.Struct("<I")
_SUFFIX, _PART = ".kept", ".part"


def key_of(*what: object) -> str:
    """The name of an item: the hash of this version, and of everything that its bytes depend on."""
    digest = sha256()
    for item in (__version__, *what):
        text = str(item).encode()
        digest.update(b"%d %s " % (len(text), text))
    return digest.hexdigest()


def kept_directory() -> Path:
    """Where it lies; it need not exist. Raises RuntimeError where the user has no home."""
    return cache_directory() / "packing"


@dataclass(frozen=True)
class Room:
    """What a cache takes on the disk. directory: None where the user has no home. bytes: of all its files, those for a
    while and of killed processes too."""

    directory: Path | None
    bytes: int


def room_taken() -> Room:
    """Of the user's cache of packings."""
    try:
        directory = kept_directory()
    except RuntimeError:
        return Room(None, 0)
    found = [status.st_size for path in directory.rglob("*") if (status := _status(path)) is not None]
    return Room(directory, sum(found))


class Kept:
    """The items in a directory. For any thread and any number of processes."""

    def __init__(self, directory: Path | None = None, most_bytes: int = KEPT_BYTES) -> None:
        """directory: None for the user's cache. Removes what is too old, or too much."""
        self.problem: str | None = None  # why nothing is kept any more
        self._most_bytes = most_bytes
        self._directory: Path | None = None
        try:
            place = directory or kept_directory()
            _make_private(place)
            self._directory = place
        except (OSError, RuntimeError) as reason:  # no room, no permission, no home
            self._give_up(reason)
        else:
            remove_left(place)
            self._sweep()

    def read(self, key: str) -> bytes | None:
        """The content of an item; None where it is not there whole. What is damaged goes, so that it is made again."""
        path = self._path(key)
        content = None if path is None else read_ours(path)
        at = len(_MAGIC) + _HEAD.size
        if path is None or content is None:
            return None
        if not _is_whole(content, key):
            self.forget([key])
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it is needed
        return content[at : -_CHECKSUM.size]

    def has(self, key: str) -> bool:
        """Whether there seems to be an item; it may turn out not to be whole."""
        path = self._path(key)
        return path is not None and path.exists()

    def write(self, key: str, *pieces: bytes | memoryview) -> None:
        """Keeps an item, in place of what has its key. What cannot be kept is not, and nothing more after it."""
        path = self._path(key)
        if path is None or self.problem is not None:
            return
        views = [memoryview(piece).cast("B") for piece in pieces]
        head = _MAGIC + _HEAD.pack(bytes.fromhex(key), sum(map(len, views)))
        checksum = zlib.crc32(head)
        for view in views:
            checksum = zlib.crc32(view, checksum)
        try:
            _write_whole(path, [memoryview(head), *views, memoryview(_CHECKSUM.pack(checksum))])
            self._trim()
        except OSError as reason:
            self._give_up(reason)

    def forget(self, keys: Iterable[str]) -> None:
        """Removes items that nobody needs any more."""
        for key in keys:
            path = self._path(key)
            if path is not None:
                with contextlib.suppress(OSError):
                    path.unlink()

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """A directory for large files, gone at the end; a later packing removes that of a killed process. In the
        temporary directory where nothing can be kept. Raises OSError where none can be made."""
        return scratch_directory("pack", self._directory)

    def _path(self, key: str) -> Path | None:
        return None if self._directory is None else self._directory / f"{key}{_SUFFIX}"

    def _give_up(self, reason: OSError | RuntimeError) -> None:
        place = self._directory or "the user's cache"
        said = getattr(reason, "strerror", None) or str(reason)
        if isinstance(reason, OSError) and reason.errno == errno.ENOSPC and self._directory is not None:
            said = f"no room, {shutil.disk_usage(self._directory).free:,} bytes are free"
        self.problem = f"{place}: nothing could be kept there ({said}), so a packing that is interrupted begins anew"

    def _sweep(self) -> None:
        """At a start: what was not used for long, and what killed processes were writing."""
        assert self._directory is not None
        now = time.time()
        for path in _entries(self._directory):
            longest = {_SUFFIX: KEPT_DAYS * 86400.0, _PART: float(_PART_S)}.get(path.suffix)
            status = _status(path)
            if longest is not None and status is not None and now - status.st_mtime > longest:
                with contextlib.suppress(OSError):
                    path.unlink()
        self._trim()

    def _trim(self) -> None:
        """The oldest items go until the others take no more than they may."""
        assert self._directory is not None
        found = [
            (status.st_mtime_ns, path, status.st_size)
            for path in _entries(self._directory)
            if path.suffix == _SUFFIX and (status := _status(path)) is not None
        ]
        total = sum(n_bytes for _, _, n_bytes in found)
        for _, path, n_bytes in sorted(found):
            if total <= self._most_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= n_bytes


def _is_whole(content: bytes, key: str) -> bool:
    at = len(_MAGIC) + _HEAD.size
    n_bytes = len(content) - at - _CHECKSUM.size
    if n_bytes < 0 or content[:at] != _MAGIC + _HEAD.pack(bytes.fromhex(key), n_bytes):
        return False
    checked = memoryview(content)[: -_CHECKSUM.size]
    return _CHECKSUM.pack(zlib.crc32(checked)) == content[-_CHECKSUM.size :]


def _make_private(directory: Path) -> None:
    """A directory of this user, for this user alone. Raises OSError where there can be none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NotADirectoryError(errno.ENOTDIR, "it is a link, or of another user")
    with contextlib.suppress(OSError):  # a file system without rights
        directory.chmod(0o700)


def _write_whole(path: Path, pieces: Iterable[memoryview]) -> None:
    """A new file takes the place of what has the name, which is not written into. Raises OSError."""
    fd, part = tempfile.mkstemp(_PART, ".", path.parent)
    try:
        with open(fd, "wb", buffering=0) as file:
            for piece in pieces:
                while piece:
                    piece = piece[file.write(piece) :]
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _entries(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(directory.iterdir())
    return []


def _status(path: Path) -> os.stat_result | None:
    """Of a regular file; None for others, and where it has just gone."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status if stat.S_ISREG(status.st_mode) else None
    return None


@dataclass(frozen=True)
class Keeping:
    """What is kept under one key: of all that it depends on."""

    kept: Kept
    key: str
