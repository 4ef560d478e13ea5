"""Where the user's files are: the XDG data directory on Linux, its counterpart elsewhere."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.files.user_cache import cache_directory
from rbe_edge.store.private import keep_private


def data_directory() -> Path:
    """The directory of this program's data (~/.local/share/rbe_edge on Linux); it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("rbe_edge", appauthor=False)


def conversations_file() -> Path:
    return data_directory() / "conversations.db"


def models_directory() -> Path:
    """Where the client packs models to and looks for them."""
    return data_directory() / "models"


def states_directory() -> Path:
    """Where the engine's state after a conversation is kept."""
    return data_directory() / "states"


def threads_file() -> Path:
    """Where it is kept how many threads were fastest, by machine and size of model; made by the first answer."""
    return cache_directory() / "threads.txt"


def make_threads_file_directory() -> Path | None:
    """threads_file(), after its directory was made; None where that cannot be."""
    try:
        path = threads_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or no home
        return None
    return path


def make_directory(path: Path) -> None:
    """Makes a directory that its owner alone may read. One that exists stays as it is, unless it is this program's: the
    data directory, or one in it. Raises OSError where it cannot be made."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = data_directory()
    for directory in (path, *path.parents):
        if directory == own or own in directory.parents:
            keep_private(directory)
