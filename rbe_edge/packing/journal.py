"""What an interrupted packing has finished: tensors kept beside the output until it is complete.

`OUT.partial/` holds one file per encoded tensor, the key of the work that made them (a hash over everything that the
bytes depend on), and while it lasts the dense copy of the model that calibration runs. The same work started again uses
these tensors. Tensors of other work are removed. Every file ends in its checksum, so that one that was cut off by a
crash does not count.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from rbe_edge.errors import PackError
from rbe_edge.files.new_file import beside, read_ours

_HEAD = struct.Struct("<dd")  # error, tensor scale
_CHECKSUM = struct.Struct("<I")
_KEY_NAME = "key"
_NEXT_KEY_NAME = "key.part"  # on its way to being the key
_SCRATCH_NAME = "scratch"
_KEY_TITLE = b"rbe partial 1 "


@dataclass(frozen=True)
class Finished:
    """A tensor as its file holds it. data: its bytes; error and tensor_scale as in trellis.Encoded."""

    data: bytes
    error: float
    tensor_scale: float


def partial_directory(out: Path) -> Path:
    """Where the finished tensors of an output are kept: beside the file that is written, also where `out` is a link."""
    return beside(Path(os.path.realpath(out)) if out.is_symlink() else out, "", ".partial")


class Journal:
    """The finished tensors of one packing, by their number in the file, and its scratch file. A context manager.

    It leaves nothing when it ends, whether in success or with an error, except where the user interrupts it
    (KeyboardInterrupt) or the process is killed: then the tensors stay for the next run. The directory appears when it
    is needed, for its owner alone. Not for two processes at once: hold the writer.claim() of the output.

    Raises PackError where something else has the directory's name, or where it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.directory = partial_directory(out)
        self._key = _KEY_TITLE  # of no work: what belongs to one is removed when it begins

    def __enter__(self) -> Journal:
        if os.path.lexists(self.directory):
            if not self._is_ours():
                raise PackError(f"{self.directory}: is in the way and not of rbe; remove it or give another output")
            with contextlib.suppress(OSError):  # a file system without rights
                self.directory.chmod(0o700)
        self._remove_scratch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_scratch()
        if kind is None or issubclass(kind, Exception) or not any(self._tensors()):
            self._remove()

    def scratch(self) -> Path:
        """A path for a large file that goes with the journal, whatever the end; what a killed run left is gone."""
        self._make()
        return self.directory / _SCRATCH_NAME

    def begin(self, what: Iterable[str]) -> None:
        """Before the first tensor. what: everything the bytes depend on; tensors of other work are removed."""
        digest = sha256()
        for item in what:
            digest.update(f"{len(item)} {item} ".encode())
        self._key = _KEY_TITLE + digest.hexdigest().encode()
        if self._kept_key() != self._key:
            self._remove_tensors()
            if self.directory.is_dir():
                self._write_key()

    def read(self, number: int, n_bytes: int) -> Finished | None:
        """A tensor whose data has n_bytes; None where it is not there whole."""
        content = read_ours(self._path(number))
        if content is None:
            return None
        head, data, end = content[: _HEAD.size], content[_HEAD.size : -_CHECKSUM.size], content[-_CHECKSUM.size :]
        if len(data) != n_bytes or _CHECKSUM.pack(zlib.crc32(data, zlib.crc32(head))) != end:
            return None
        error, tensor_scale = _HEAD.unpack(head)
        return Finished(data, error, tensor_scale)

    def write(self, number: int, finished: Finished) -> None:
        """Keeps a tensor."""
        head = _HEAD.pack(finished.error, finished.tensor_scale)
        end = _CHECKSUM.pack(zlib.crc32(finished.data, zlib.crc32(head)))
        self._make()
        self._write(self._path(number), head, finished.data, end)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            free = shutil.disk_usage(self.directory.parent).free
            raise PackError(
                f"{self.directory}: no room to write it, or no permission ({error.strerror}, {free:,} bytes are free); "
                "make room or give another place"
            ) from error

    def _make(self) -> None:
        if not self.directory.is_dir():
            with self._reported():
                self.directory.mkdir(0o700)
            self._write_key()

    def _kept_key(self) -> bytes | None:
        return read_ours(self.directory / _KEY_NAME)

    def _write_key(self) -> None:
        """The directory has a whole key at any time, by which it is known as ours."""
        self._write(self.directory / _NEXT_KEY_NAME, self._key)
        with self._reported():
            os.replace(self.directory / _NEXT_KEY_NAME, self.directory / _KEY_NAME)

    def _write(self, path: Path, *pieces: bytes) -> None:
        """A new file: what has the name goes, and is not written into."""
        with self._reported():
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.writelines(pieces)

    def _tensors(self) -> Iterator[Path]:
        return self.directory.glob("*.tensor")

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:05}.tensor"

    def _is_ours(self) -> bool:
        """Whether what has the directory's name is one of rbe and this user: with a key, or still with nothing else."""
        status = os.lstat(self.directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        found = self._kept_key()
        if found is not None:
            return found.startswith(_KEY_TITLE)
        return all(path.name == _NEXT_KEY_NAME for path in self.directory.iterdir())

    def _remove_scratch(self) -> None:
        """Also what is not complete, and the nameless file of calibration.py where a kill came before its name went."""
        for pattern in (f"{_SCRATCH_NAME}*", f".{_SCRATCH_NAME}.part"):
            for path in self.directory.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _remove_tensors(self) -> None:
        for path in self._tensors():
            path.unlink()

    def _remove(self) -> None:
        """The key last: what is left of a removal that is cut short is still known as ours."""
        with contextlib.suppress(OSError):
            self._remove_tensors()
            (self.directory / _NEXT_KEY_NAME).unlink(missing_ok=True)
            (self.directory / _KEY_NAME).unlink(missing_ok=True)
            os.rmdir(self.directory)
