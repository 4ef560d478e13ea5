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
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from rbe_edge.errors import PackError

_HEAD = struct.Struct("<dd")  # error, tensor scale
_CHECKSUM = struct.Struct("<I")
_KEY_NAME = "key"
_SCRATCH_NAME = "scratch"
_KEY_TITLE = b"rbe partial 1 "


@dataclass(frozen=True)
class Finished:
    """A tensor as its file holds it. data: its bytes; error and tensor_scale as in trellis.Encoded."""

    data: bytes
    error: float
    tensor_scale: float


def partial_directory(out: Path) -> Path:
    """Where the finished tensors of an output are kept."""
    return out.with_name(f"{out.name}.partial")


class Journal:
    """The finished tensors of one packing, by their number in the file, and its scratch file. A context manager.

    It leaves nothing when it ends, whether in success or with an error, except where the user interrupts it
    (KeyboardInterrupt) or the process is killed: then the tensors stay for the next run. The directory appears when it
    is needed. Not for two processes at once: hold the writer.Claim of the output.

    Raises PackError where something else has the directory's name, or where it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.directory = partial_directory(out)
        self._key = _KEY_TITLE  # of no work: what belongs to one is removed when it begins

    def __enter__(self) -> Journal:
        found = self._kept_key()
        ours = found.startswith(_KEY_TITLE) if found is not None else self._is_empty()
        if self.directory.exists() and not ours:
            raise PackError(f"{self.directory}: is in the way and not of rbe; remove it or give another output")
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
        self._make()
        with self._reported(), self._path(number).open("wb") as file:
            for piece in (head, finished.data, end):
                file.write(piece)

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
                self.directory.mkdir()
            self._write_key()

    def _kept_key(self) -> bytes | None:
        key = self.directory / _KEY_NAME
        return key.read_bytes() if key.is_file() else None

    def _write_key(self) -> None:
        with self._reported():
            (self.directory / _KEY_NAME).write_bytes(self._key)

    def _tensors(self) -> Iterator[Path]:
        return self.directory.glob("*.tensor")

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:05}.tensor"

    def _is_empty(self) -> bool:
        return self.directory.is_dir() and not any(self.directory.iterdir())

    def _remove_scratch(self) -> None:
        for name in (_SCRATCH_NAME, f".{_SCRATCH_NAME}.part"):  # as writer.Claim names what is not complete
            with contextlib.suppress(OSError):
                (self.directory / name).unlink(missing_ok=True)

    def _remove_tensors(self) -> None:
        for path in self._tensors():
            path.unlink()

    def _remove(self) -> None:
        """The key last: what is left of a removal that is cut short is still known as ours."""
        with contextlib.suppress(OSError):
            self._remove_tensors()
            (self.directory / _KEY_NAME).unlink(missing_ok=True)
            os.rmdir(self.directory)
