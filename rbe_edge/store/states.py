"""Where the engine's state after each conversation lies, so that going on needs no prompt read again.

It is a cache: any file of it may be deleted. Whether a state fits the model and the settings is for the engine to say.
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
        """Where the state of a conversation lies, or is to lie; None where it is not kept. The directory exists."""
        if self._directory is None or conversation is None:
            return None
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:  # a cache that cannot be: everything works without
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
