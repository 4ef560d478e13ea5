"""Where the user's cache is: what lies there may be removed at any time, and is made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """The directory of this program's cache; it need not exist. $XDG_CACHE_HOME/rbe_edge or ~/.cache/rbe_edge,
    ~/Library/Caches/rbe_edge on macOS, %LOCALAPPDATA%/rbe_edge/Cache on Windows: what platformdirs says, without it.
    Raises RuntimeError where the user has no home."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rbe_edge"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or ""
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "rbe_edge" / "Cache"
    given = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "rbe_edge"
