"""Removes files from the system's page cache, as after a start of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def forget_cached(path: Path) -> None:
    """Takes a file that was just written out of the system's page cache, where the system lets a program ask for that.
    The next program that opens it reads it from the disk, and the way it reads decides which pages the file takes
    (docs/performance.md, "Large pages")."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
