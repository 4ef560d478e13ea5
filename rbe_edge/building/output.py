"""The folder of one target: it appears whole, beside its place, and takes its name at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rbe_edge.errors import BuildError

SUMS = "SHA256SUMS"


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `place` at the end and replaces what an earlier build left there. Without an end
    nothing remains. Raises BuildError where it would replace a folder of others, where another process builds the same,
    and where the disk or the rights are against it."""
    check_place(place)
    part = place.with_name(f".{place.name}.part")
    with reported(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir(exist_ok=True)
        lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _take(lock, part, place)
        try:
            with reported(place):
                yield part
                _replace(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(lock)


def check_place(place: Path) -> None:
    """Raises BuildError where the folder holds what no build of ours made, or where none can be made."""
    with reported(place):
        if place.is_symlink() or (place.exists() and not (place / SUMS).is_file()):
            raise BuildError(f"{place}: is there and not of `rbe build`; remove it, or give another folder with -o")
        above = next(folder for folder in place.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise BuildError(f"{place}: cannot be made, {above} takes no folders; give another folder with -o")


@contextlib.contextmanager
def reported(place: Path) -> Iterator[None]:
    """Makes one line of what the system says."""
    try:
        yield
    except OSError as reason:
        full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room, or give another folder with -o" if full else "give another folder with -o"
        where = reason.filename or place
        raise BuildError(f"{where}: cannot be written ({reason.strerror or reason}); {advice}") from None


def _take(lock: int, part: Path, place: Path) -> None:
    """Locks the folder, and empties it of what a killed build left, which gets its earlier folder back."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BuildError(f"{place}: is being built by another process; wait for it to end") from None
    if _old(place).exists() and not place.exists():  # killed between the two names
        os.rename(_old(place), place)
    for left in part.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def _replace(part: Path, place: Path) -> None:
    check_place(place)
    old = _old(place)
    shutil.rmtree(old, ignore_errors=True)
    was_there = place.exists()
    if was_there:
        os.rename(place, old)
    try:
        os.rename(part, place)
    except OSError:
        if was_there:
            os.rename(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _old(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def write_sums(folder: Path) -> dict[str, int]:
    """Writes SHA256SUMS of all files below, for `sha256sum -c`. Gives their paths with their bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    names = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    lines = [f"{_digest(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return names


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
