"""The text files of a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".txt", ".md")
_MOST_BYTES = 64 << 20  # of a file: what is larger is no text that a person wrote


class Skipped(Exception):
    """Why a file is left out."""


@dataclass(frozen=True)
class State:
    """Of a file: when it was changed, in ns since 1970, and its bytes."""

    changed: int
    n_bytes: int


def documents(folder: Path, tell: Callable[[str], object]) -> Iterator[tuple[Path, State]]:
    """The files with one of ENDINGS, in any case, in the folder and the folders in it, in order of their names. What
    begins with a dot is left out, and so are links to folders. tell: hears a line for each folder and file that cannot
    be looked at."""

    def failed(error: OSError) -> None:
        tell(f"{error.filename}: skipped ({error.strerror})")

    for here, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(ENDINGS):
                continue
            path = Path(here, name)
            try:
                yield path, state_of(path)
            except Skipped as reason:
                tell(f"{path}: skipped ({reason})")


def state_of(path: Path) -> State:
    """Raises Skipped for what is gone or no file."""
    try:
        found = path.stat()
    except OSError as error:
        raise Skipped(_reason(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise Skipped("it is no regular file")
    return State(found.st_mtime_ns, found.st_size)


def read(path: Path) -> tuple[str, str]:
    """The text of a file, and a digest of its bytes. Raises Skipped for what is no text in UTF-8, is gone or too
    large."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Skipped(_reason(error)) from None
    if len(data) > _MOST_BYTES:
        raise Skipped(f"it is larger than {_MOST_BYTES >> 20} MiB")
    if b"\0" in data:
        raise Skipped("it is binary")
    try:
        return data.decode("utf-8-sig"), hashlib.sha256(data).hexdigest()
    except UnicodeDecodeError:
        raise Skipped("it is no UTF-8") from None


def _reason(error: OSError) -> str:
    return "it has just gone" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
