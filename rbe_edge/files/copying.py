"""Bytes from one opened file to another, by the system where it can do that itself."""

from __future__ import annotations

import errno
import os

PAGE = 4096  # of nearly every file system that shares pages between files
_AT_ONCE = 64 << 20  # between two of which Ctrl-C is seen
_READ = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def copy_range(source: int, target: int, start: int, offset: int, n_bytes: int) -> int:
    """Copies n_bytes from `start` of the source to `offset` of the target, by descriptors; returns how many there were,
    fewer where the source ends. Whole pages of the source go by themselves, so that a file system that shares pages
    can: where start and offset lie alike within a page. Raises OSError."""
    position, end = start, start + n_bytes
    first_page, last_page = -(-start // PAGE) * PAGE, end // PAGE * PAGE
    while position < end:
        stop = first_page if position < first_page else last_page if position < last_page else end
        stop = min(stop, end, position + _AT_ONCE)
        copied = _copy(source, target, position, offset + position - start, stop - position)
        if copied == 0:
            break
        position += copied
    return position - start


def _copy(source: int, target: int, start: int, offset: int, n_bytes: int) -> int:
    """Some of them; 0 at the end of the source."""
    by_system = getattr(os, "copy_file_range", None)  # Linux
    if by_system is not None:
        try:
            copied: int = by_system(source, target, n_bytes, start, offset)
            return copied
        except OSError as reason:  # not between these files, or by this kernel
            if reason.errno in _FULL:
                raise
    data = memoryview(os.pread(source, min(n_bytes, _READ), start))
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], offset + written)
    return written
