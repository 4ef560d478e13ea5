"""The files of the engine's state after each conversation, so that continuing one computes no prompt again.

It is a cache: any file of it may be deleted. The engine decides whether a state fits the model and the settings.
`N.state` is that of conversation N. While it is written it is `N.state.XXXXXX`, locked (native/src/platform/platform.h,
rbe__new_file); a killed process leaves that, without the lock.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from rbe_edge.store.places import make_directory
from rbe_edge.store.private import keep_private

_KEPT_FILES = 8
_KEPT_BYTES = 1 << 30
_NAME = re.compile(r"(\d+)\.state(\..{6})?", re.DOTALL)


class StateFiles:
    """A directory of states, one for each conversation; the latest few are kept. None: nothing is kept."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def path(self, conversation: int | None) -> Path | None:
        """The file of a conversation's state, existing or not; None where it is not kept. The directory exists."""
        if self._directory is None or conversation is None:
            return None
        try:
            make_directory(self._directory)
        except OSError:  # everything works without the cache
            return None
        return self._directory / f"{conversation}.state"

    def forget(self, conversation: int) -> None:
        """Deletes the state of a conversation, where there is one, and what is written of it."""
        for number, _, path in self._files():
            if number == conversation:
                _delete(path)

    def trim(self) -> None:
        """Deletes the oldest states beyond 8 files or 1 GiB, and what killed processes left."""
        states = []
        for _, is_whole, path in self._files():
            with suppress(OSError):
                if is_whole:
                    states.append((path.lstat(), path))
                elif not _is_being_written(path):
                    path.unlink()
        total = 0
        for index, (status, path) in enumerate(sorted(states, key=lambda entry: -entry[0].st_mtime)):
            total += status.st_size
            if index >= _KEPT_FILES or total > _KEPT_BYTES:
                _delete(path)

    def sweep(self, conversations: Collection[int]) -> None:
        """At a start: deletes what is of other conversations than these, and trims."""
        for number, _, path in self._files():
            if number in conversations:
                keep_private(path)
            else:
                _delete(path)
        self.trim()

    def _files(self) -> Iterator[tuple[int, bool, Path]]:
        """Conversation, whether the state is whole, and the file. None where the directory cannot be read."""
        if self._directory is not None:
            with suppress(OSError):
                for path in list(self._directory.iterdir()):
                    found = _NAME.fullmatch(path.name)
                    if found is not None:
                        yield int(found[1]), found[2] is None, path


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _is_being_written(path: Path) -> bool:
    """Raises OSError where that cannot be told: then it is left alone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
