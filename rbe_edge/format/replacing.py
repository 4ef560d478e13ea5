"""Adds, replaces and removes parts of a `.rbe` file that exists, while others may have it mapped.

A new file is written beside it, with all else the same byte for byte, and takes its name when it is whole: who has the
old one open goes on with that. The data of the tensors moves by whole pages of 4096 bytes or stays, so that a file
system that can share them between two files copies nothing.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.files.copying import PAGE
from rbe_edge.files.new_file import NewFile
from rbe_edge.format import writer
from rbe_edge.format.frame import Frame, StoredPart, index_bytes_of, read_frame
from rbe_edge.format.parts import VERSION_OF_PARTS, Part, check_parts


def replace_parts(path: Path, put: Iterable[Part] = (), remove: Iterable[str] = ()) -> None:
    """Puts parts into a file, in place of those of the same names, and removes others; the rest of the file stays. The
    file then has the lowest version of the format that holds what it has.

    Takes the time and the room of a copy where the file system shares nothing. Raises PackError, and nothing changes,
    where the file is missing, damaged or being written, where a part to be removed is not there, and where there is no
    room.
    """
    new = tuple(put)
    check_parts(new)
    added, removed = {part.name: part for part in new}, set(remove)
    with NewFile(path, PackError, replace=True) as file:
        try:
            old = os.open(file.place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as reason:
            raise PackError(f"{path}: cannot be read ({reason.strerror}); give a .rbe file") from None
        try:
            _write(file, path, old, added, removed)
            file.keep_mode(old)
        except OSError as reason:
            raise PackError(f"{path}: cannot be read ({reason.strerror}); copy it again") from None
        finally:
            os.close(old)
        file.commit()


def read_parts(path: Path) -> dict[str, Part]:
    """The parts of a file, whether this build knows them or not. Raises PackError where it is missing or damaged."""
    try:
        with path.open("rb") as file:
            frame = _frame(file.fileno())
            return {part.name: _part(file.fileno(), part) for part in frame.parts}
    except OSError as reason:
        raise PackError(f"{path}: cannot be read ({reason.strerror}); give a .rbe file") from None
    except PackError as reason:
        raise PackError(f"{path}: {reason}") from None


def _frame(file: int) -> Frame:
    file_bytes = os.fstat(file).st_size
    header = _read(file, writer.HEADER_BYTES, 0)
    n_bytes = index_bytes_of(header, file_bytes) - len(header)
    return read_frame(header, _read(file, n_bytes, len(header)), file_bytes)


def _part(file: int, stored: StoredPart) -> Part:
    return stored.with_data(_read(file, stored.n_bytes, stored.offset))


def _read(file: int, n_bytes: int, offset: int) -> bytes:
    """Fewer where the file ends."""
    pieces = []
    while n_bytes > 0:
        piece = os.pread(file, min(n_bytes, 1 << 30), offset)
        if not piece:
            break
        pieces.append(piece)
        offset, n_bytes = offset + len(piece), n_bytes - len(piece)
    return b"".join(pieces)


def _write(file: NewFile, path: Path, old: int, added: Mapping[str, Part], removed: set[str]) -> None:
    """All of the new file."""
    try:
        frame = _frame(old)
        missing = removed - {part.name for part in frame.parts}
        if missing:
            raise PackError(f"has no part {min(missing)}; `rbe inspect` lists them")
        kept = {part.name: _part(old, part) for part in frame.parts if part.name not in removed | added.keys()}
        order = [part.name for part in frame.parts if part.name not in removed]
        order += [name for name in added if name not in order]
        parts = tuple(added.get(name) or kept[name] for name in order)
        check_parts(parts)
        index_bytes = writer.HEADER_BYTES + len(frame.index) + sum(len(part.entry(0, 0)) for part in parts)
        if index_bytes > writer.MAX_INDEX_BYTES:
            raise PackError(f"the index would take {index_bytes} bytes, more than the format allows")
    except PackError as reason:
        raise PackError(f"{path}: {reason}") from None
    first, end = frame.data_range
    moved = _shift(first, writer.padded(index_bytes))
    file.copy_range(old, first, first + moved, end - first)
    for part in frame.parts:  # those that lie between tensors leave zeros there
        if first <= part.offset < end:
            file.write_at(part.offset + moved, bytes(part.n_bytes))
    _finish(file, frame, parts, moved, writer.padded(max(end + moved, index_bytes)))


def _shift(first: int, least: int) -> int:
    """The least multiple of a page that, added to `first`, gives `least` or more; below 0 where there is room."""
    return -((first - least) // PAGE) * PAGE if first else 0


def _finish(file: NewFile, frame: Frame, parts: tuple[Part, ...], moved: int, position: int) -> None:
    """The parts, from `position` on, and the index."""
    entries = []
    for part in parts:
        file.write_at(position, part.data)
        entries.append(part.entry(position, zlib.crc32(part.data)))
        position = writer.padded(position + len(part.data))
    file.set_size(position)
    index = b"".join([frame.moved(moved), *entries])
    version = VERSION_OF_PARTS if parts else frame.lowest_version
    index_bytes = writer.HEADER_BYTES + len(index)

    def header(checksum: int) -> bytes:
        counts = (*frame.counts, len(parts))
        return writer.MAGIC + struct.pack("<IIQQIIIII12x", version, checksum, position, index_bytes, *counts)

    file.write_at(0, header(zlib.crc32(index, zlib.crc32(header(0)))) + index)
