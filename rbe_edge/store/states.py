"""The files of the engine's state after each conversation, so that continuing one computes no prompt again.

It is a cache: any file of it may be deleted. The engine decides whether a state fits the model and the settings.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_KEPT_FILES = 8
_KEPT_BYTES = 1 << 30


class StateFiles:
    """A directory of states, one for each conversation; the latest few are kept. None: nothing is kept."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def path(self, conversation: int | None) -> Path | None:
        """The file of a conversation's state, existing or not; None where it is not kept. The directory exists."""
        if self._directory is None or conversation is None:
            return None
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:  # everything works without the cache
            return None
        return self._directory / f"{conversation}.state"

    def forget(self, conversation: int) -> None:
        """Deletes the state of a conversation, where there is one."""
        if self._directory is not None:
            with suppress(OSError):
                (self._directory / f"{conversation}.state").unlink()

    def trim(self) -> None:
        """Deletes the oldest states beyond 8 files or 1 GiB."""
        if self._directory is None:
            return
        with suppress(OSError):
            states = [(path.stat(), path) for path in self._directory.glob("*.state")]
            total = 0
            for index, (status, path) in enumerate(sorted(states, key=lambda entry: -entry[0].st_mtime)):
                total += status.st_size
                if index >= _KEPT_FILES or total > _KEPT_BYTES:
                    path.unlink(missing_ok=True)
