"""A file that is written beside its place and takes its name when it is whole.

Until then the place is empty or holds the old file. The temporary file has a fixed name, so that the next writer of the
same file finds what a killed one left, and a lock, so that it tells that from a file in use. Only a regular file is
replaced, never a device, a pipe or a directory. Where the place is a link to a file, that file is replaced, as by `cp`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from rbe_edge.errors import RbeError
from rbe_edge.files.copying import copy_range

_LONGEST_NAME = 255  # bytes, of nearly every file system
# Without O_NONBLOCK the opening of a pipe would wait for its other end.
_NO_LINK = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def beside(path: Path, before: str, after: str) -> Path:
    """A file in the same directory for what belongs to `path`: its name between `before` and `after`. A name that would
    be too long is cut, and ends in a hash of the whole."""
    name = os.fsencode(path.name)
    room = _LONGEST_NAME - len(os.fsencode(before + after))
    if len(name) <= room:
        return path.with_name(f"{before}{path.name}{after}")
    end = f"-{sha256(name).hexdigest()[:16]}"
    start = name[: room - len(end)].decode("utf-8", "ignore")  # no half of a character, which macOS refuses
    return path.with_name(f"{before}{start}{end}{after}")


def check_place(
    path: Path, error: type[RbeError], *, replace: bool = False, instead: str = "give another name"
) -> Path:
    """The file that is to be written: `path`, or what it leads to where it is a link. instead: what a person may do
    where the file exists. Raises `error` where no file can be put there, or would replace another without `replace`."""
    try:
        is_link = path.is_symlink()
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if is_link:
            raise error(f"{path}: is a link to nothing; remove it, or give another name") from None
        if not path.parent.is_dir():
            raise error(f"{path}: the directory {path.parent} does not exist; make it first") from None
        return path
    except (OSError, ValueError) as reason:  # a name too long; a zero byte in it
        said = reason.strerror if isinstance(reason, OSError) else reason
        raise error(f"{path}: cannot be written ({said}); give another name") from None
    if stat.S_ISDIR(mode):
        raise error(f"{path}: is a directory; give the name of a file")
    if not stat.S_ISREG(mode):
        raise error(f"{path}: is a device or a pipe, which is not replaced; give the name of a file")
    if not replace:
        raise error(f"{path}: exists already; {instead}")
    return Path(os.path.realpath(path)) if is_link else path


def is_ours(status: os.stat_result) -> bool:
    """Whether it is a regular file of this user under one name alone."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1


def has_name(fd: int, path: Path) -> bool:
    """Whether the open file is still what the path names: it may have been renamed or removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def read_ours(path: Path) -> bytes | None:
    """The content of a file of this user that is no link; None where there is none, or it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
            return file.read() if is_ours(os.fstat(file.fileno())) else None
    except OSError:
        return None


class NewFile:
    """The right to write a file, and the file in the making. A context manager; without commit() nothing remains. For
    one thread.

    Raises `error`, at once or later, where no file can be put at `path`, where it would replace another one without
    `replace`, and where another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        error: type[RbeError],
        *,
        replace: bool = False,
        private: bool = False,
        instead: str = "give another name",
    ) -> None:
        """private: for its owner alone, whatever the umask. instead: see check_place()."""
        self.path = path
        self.place = path  # from entering it on: what the path leads to
        self.fd = -1  # of the temporary file, while there is one
        self._error = error
        self._replace = replace
        self._private = private
        self._instead = instead

    def __enter__(self) -> NewFile:
        self.place = self.check()
        self.part = beside(self.place, ".", ".part")
        with self.reported():
            self.fd = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def check(self) -> Path:
        """check_place() of this file."""
        return check_place(self.path, self._error, replace=self._replace, instead=self._instead)

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Makes `error`, with one line, of what the system says: for those who write into the file by its path."""
        try:
            yield
        except OSError as reason:
            full = reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            advice = "make room or give another place" if full else "check the directory and its permissions"
            raise self._error(f"{self.path}: cannot be written ({reason.strerror or reason}); {advice}") from reason

    def _open(self) -> int:
        """The temporary file, empty and locked: what a killed writer left is taken over, what is in use is not."""
        while True:
            fd, is_new = self._open_part()
            try:
                if fd >= 0 and self._take(fd, is_new):
                    return fd
            except BaseException:
                if fd >= 0:
                    os.close(fd)
                raise
            if fd >= 0:
                os.close(fd)

    def _open_part(self) -> tuple[int, bool]:
        """What has the name, and whether it is new; -1 where it has just gone. A new one is ours whatever the system
        says of it: file systems without owners give all files to one user."""
        rights = 0o600 if self._private else 0o666
        try:
            return os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, rights), True
        except FileExistsError:
            pass
        try:
            return os.open(self.part, os.O_RDWR | _NO_LINK), False
        except FileNotFoundError:
            return -1, False
        except OSError as reason:
            if stat.S_ISREG(os.lstat(self.part).st_mode):
                raise
            raise self._in_the_way() from reason

    def _take(self, fd: int, is_new: bool) -> bool:
        """Locks and empties it. False where another writer has just renamed or removed it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as reason:
            raise self._error(f"{self.path}: is being written by another process; wait for it to end") from reason
        if not has_name(fd, self.part):
            return False
        if not is_new and not is_ours(os.fstat(fd)):
            raise self._in_the_way()
        if self._private:
            with contextlib.suppress(OSError):  # whatever the umask, where the file system has rights
                os.fchmod(fd, 0o600)
        try:
            os.ftruncate(fd, 0)
        except OSError:  # it is ours, and nobody else's meanwhile
            os.unlink(self.part)
            raise
        return True

    def _in_the_way(self) -> RbeError:
        return self._error(f"{self.part}: is in the way and not of rbe; remove it, or give another output")

    def write(self, data: bytes) -> None:
        """Writes behind what was written before. Raises `error` where the disk takes no more."""
        view = memoryview(data)
        with self.reported():
            while view:
                view = view[os.write(self.fd, view) :]

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes from `offset` on. Raises `error` where the disk takes no more."""
        view = memoryview(data)
        with self.reported():
            while view:
                written = os.pwrite(self.fd, view, offset)
                offset, view = offset + written, view[written:]

    def set_size(self, n_bytes: int) -> None:
        """Ends it there; what was never written is zero."""
        with self.reported():
            os.ftruncate(self.fd, n_bytes)

    def copy_range(self, source: int, start: int, offset: int, n_bytes: int) -> None:
        """Puts n_bytes of an opened file, from `start` on, at `offset`. Where start and offset lie alike within pages,
        a file system that can share pages copies nothing. Raises `error` where the disk takes no more, or the source
        ends before."""
        with self.reported():
            if copy_range(source, self.fd, start, offset, n_bytes) < n_bytes:
                raise self._error(f"{self.path}: became shorter while it was copied; try again")

    def keep_mode(self, source: int) -> None:
        """Gives it the permissions of an opened file, where the file system has any."""
        with contextlib.suppress(OSError):
            os.fchmod(self.fd, stat.S_IMODE(os.fstat(source).st_mode))

    def discard(self) -> None:
        """Gives it up; twice is allowed."""
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            if has_name(self.fd, self.part):
                os.unlink(self.part)
        self._close()

    def _close(self) -> None:
        """Once, also where a Ctrl-C comes right behind it."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    def commit(self, *, lasting: bool = True) -> None:
        """Waits until all is on the disk, and gives the file its name. Raises `error` where that became impossible.
        lasting: False for a file that is needed for a while: nothing is waited for, which takes long on slow disks and
        which no Ctrl-C ends."""
        with self.reported():
            if lasting:
                os.fsync(self.fd)
            if self.check() != self.place:
                raise self._error(f"{self.path}: leads elsewhere than at the start; try again")
            os.replace(self.part, self.place)
        self._close()
        if not lasting:
            return
        with contextlib.suppress(OSError):  # the new name survives a power cut, where the file system can
            directory = os.open(self.place.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def write_file(path: Path, data: bytes, error: type[RbeError], *, replace: bool = False, private: bool = False) -> None:
    """A whole file at once. Raises as NewFile does."""
    with NewFile(path, error, replace=replace, private=private) as file:
        file.write(data)
        file.commit()
