"""Directories for large files that are needed for a while.

A process that is killed cannot remove its own, so the next one that needs one does. A lock on a file in the directory
tells whether it is in use: the system gives it up with the process. A process number would tell less, since numbers
come again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rbe_edge.files.new_file import has_name, is_ours

_PREFIX = "rbe-"
_LOCK = ".rbe-scratch"  # also says that the directory is one of these, so it goes last
_FILES = "files"
_MUCH_BYTES = 64 << 20  # a gigabyte takes a fifth of a second to remove, and more on a slow machine

Use = Literal["tune", "compare", "eval", "bench", "fit", "build", "deploy", "pack", "pull"]


@contextlib.contextmanager
def scratch_directory(use: Use, within: Path | None = None) -> Iterator[Path]:
    """A directory in the temporary directory, or within another one, for this user alone, gone at the end. Removes
    first what killed processes of this user left there. Raises OSError where none can be made."""
    temporary = within or Path(tempfile.gettempdir())
    remove_left(temporary)
    directory, lock = _make(temporary, f"{_PREFIX}{use}-")
    is_left = False
    try:
        os.mkdir(directory / _FILES, 0o700)
        yield directory / _FILES
    except (KeyboardInterrupt, SystemExit):
        is_left = _is_much(directory) and _left_to_another(directory)
        raise
    finally:
        if not is_left:
            with contextlib.suppress(OSError):
                _remove(directory)
        os.close(lock)


def remove_left(temporary: Path) -> None:
    """Removes the directories of this user that no process has in use. What it may not remove stays."""
    with contextlib.suppress(OSError):
        for directory in temporary.glob(f"{_PREFIX}*-*"):
            with contextlib.suppress(OSError):
                _remove_unused(directory)


def _make(temporary: Path, prefix: str) -> tuple[Path, int]:
    """A new directory, and its lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=temporary))
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: nobody takes it for one that was left
            fcntl.flock(lock, fcntl.LOCK_EX)
        if has_name(lock, directory / _LOCK):
            return directory, lock
        os.close(lock)  # another process was quicker with a lock, and took it for one that was left


def _remove_unused(directory: Path) -> None:
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # not of rbe, or so new that it has no lock yet
    try:
        if is_ours(os.fstat(lock)):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if has_name(lock, directory / _LOCK):
                _remove(directory)
    finally:
        os.close(lock)


def _is_much(directory: Path) -> bool:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(directory / _FILES)) > _MUCH_BYTES
    except OSError:
        return False


def _left_to_another(directory: Path) -> bool:
    """Has another process remove it, in the order of _remove(), so that nobody who pressed Ctrl-C waits for that."""
    command = f'rm -rf "$1/{_FILES}"; rm -f "$1/{_LOCK}"; rmdir "$1"'
    try:
        subprocess.Popen(
            ["/bin/sh", "-c", command, "sh", str(directory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return False
    return True


def _remove(directory: Path) -> None:
    """A removal that is cut short leaves the lock, so that the next one goes on."""
    shutil.rmtree(directory / _FILES, ignore_errors=True)
    os.unlink(directory / _LOCK)
    os.rmdir(directory)
