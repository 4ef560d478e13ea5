"""What an interrupted packing has finished: tensors kept beside the output until it is complete.

`OUT.partial/` holds one file per encoded tensor and the key of the work that made them: a hash over everything that the
bytes depend on. The same work started again takes what is there; of other work nothing is taken, and it is removed.
Every file ends in its checksum, so that one that was cut off by a crash does not count.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from rbe_edge.errors import PackError

_HEAD = struct.Struct("<dd")  # error, tensor scale
_CHECKSUM = struct.Struct("<I")
_KEY_NAME = "key"
_KEY_TITLE = b"rbe partial 1 "


@dataclass(frozen=True)
class Finished:
    """A tensor as its file holds it. data: its bytes; error and tensor_scale as in codec.Encoded."""

    data: bytes
    error: float
    tensor_scale: float


def partial_directory(out: Path) -> Path:
    """Where the finished tensors of an output are kept."""
    return out.with_name(f"{out.name}.partial")


class Journal:
    """The finished tensors of one packing, by their number in the file. A context manager.

    It leaves nothing when it ends, whether in success or with an error, except where the user interrupts it
    (KeyboardInterrupt) or the process is killed: then the directory stays for the next run. The directory appears with
    the first tensor. Not for two processes at once: hold the lock of writer.PackWriter.

    what: everything the bytes depend on. Raises PackError where something else has the directory's name, or where it
    cannot be written.
    """

    def __init__(self, out: Path, what: Iterable[str]) -> None:
        digest = sha256()
        for item in what:
            digest.update(f"{len(item)} {item} ".encode())
        self._key = _KEY_TITLE + digest.hexdigest().encode()
        self.directory = partial_directory(out)

    def __enter__(self) -> Journal:
        key = self.directory / _KEY_NAME
        found = key.read_bytes() if key.is_file() else None
        ours = found.startswith(_KEY_TITLE) if found is not None else self._is_empty()
        if self.directory.exists() and not ours:
            raise PackError(f"{self.directory}: is in the way and not of rbe; remove it or give another output")
        if found != self._key:
            self._remove()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self._remove()

    def read(self, number: int, n_bytes: int) -> Finished | None:
        """A tensor whose data has n_bytes; None where it is not there whole."""
        try:
            content = self._path(number).read_bytes()
        except OSError:
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
        try:
            if not self.directory.is_dir():
                self.directory.mkdir()
                (self.directory / _KEY_NAME).write_bytes(self._key)
            with self._path(number).open("wb") as file:
                for piece in (head, finished.data, end):
                    file.write(piece)
        except OSError as error:
            free = shutil.disk_usage(self.directory.parent).free
            raise PackError(
                f"{self.directory}: no room to write it, or no permission ({error.strerror}, {free:,} bytes are free); "
                "make room or give another place"
            ) from error

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:05}.tensor"

    def _is_empty(self) -> bool:
        return self.directory.is_dir() and not any(self.directory.iterdir())

    def _remove(self) -> None:
        """The key last: what is left of a removal that is cut short is still known as ours."""
        with contextlib.suppress(OSError):
            for path in self.directory.glob("*.tensor"):
                path.unlink()
            (self.directory / _KEY_NAME).unlink(missing_ok=True)
            os.rmdir(self.directory)
