"""Writes `.rbe` files of the lowest format version that holds what they have (docs/format.md).

All sizes are known before the first weight is read, so the place of everything is fixed at the start: data is streamed
to a temporary file beside the target, tensor by tensor, the index is filled in last, and the file is renamed when it is
complete and on disk. Until then the target does not exist (or is the old file); afterwards it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.files import new_file
from rbe_edge.files.new_file import NewFile
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import VERSION_OF_PARTS, Part, check_parts

MAGIC = b"\x89RBE\r\n\x1a\n"
VERSION = 1
VERSION_OF_SMOOTH_CODES = 2  # the first that has seed64 and basis
ALIGNMENT = 64
HEADER_BYTES = 64
MAX_INDEX_BYTES = 256 << 20

KIND_FP32, KIND_FP16, KIND_BF16, KIND_TRELLIS, KIND_SEED64, KIND_BASIS = 1, 2, 3, 4, 5, 6
KIND_TERNARY, KIND_BINARY = 8, 9
OWN_BYTES = {KIND_BASIS: 20, KIND_TERNARY: 8, KIND_BINARY: 8}
"""Of the fields that an entry of the index has for its kind alone, but for the trellis."""

ROTATION_NONE, ROTATION_HADAMARD = 0, 1
FLAG_BLOCK_SCALES = 1

U64, F64, STRING, U64_ARRAY = 1, 2, 3, 4

Data = bytes | memoryview | npt.NDArray[np.generic]


@dataclass(frozen=True)
class CodebookEntry:
    """A codebook as the file holds it: int8[16] each."""

    bits: int
    t1: tuple[int, ...]
    t2: tuple[int, ...]


@dataclass(frozen=True)
class TensorEntry:
    """What the index says of a tensor and is known before its data: seed to codebooks only for KIND_TRELLIS,
    own for the kinds in OWN_BYTES."""

    name: str
    kind: int
    rows: int
    cols: int
    n_bytes: int
    seed: int = 0
    rotation_block: int = 0  # 0: not rotated
    flags: int = 0
    codebooks: tuple[int, ...] = field(default=())  # per plane, an index into the file's codebooks
    own: bytes = b""  # its own fields of the index


def padded(n_bytes: int) -> int:
    """What n_bytes take in a file, where everything begins at a multiple of 64."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _name(name: str) -> bytes:
    data = name.encode()
    assert 1 <= len(data) <= 255, name
    return struct.pack("<I", len(data)) + data


def _metadata(name: str, value: MetadataValue) -> bytes:
    if isinstance(value, str):
        text = value.encode("utf-8", "replace")  # a name or a template from elsewhere may hold lone surrogates
        return _name(name) + struct.pack("<II", STRING, len(text)) + text
    if isinstance(value, int):
        return _name(name) + struct.pack("<IQ", U64, value)
    if isinstance(value, float):
        assert np.isfinite(value), name
        return _name(name) + struct.pack("<Id", F64, value)
    return _name(name) + struct.pack(f"<II{len(value)}Q", U64_ARRAY, len(value), *value)


def _tensor(entry: TensorEntry, offset: int, checksum: int, error: float, tensor_scale: float) -> bytes:
    data = _name(entry.name) + struct.pack(
        "<IIIQQIf", entry.kind, entry.rows, entry.cols, offset, entry.n_bytes, checksum, error
    )
    if entry.kind == KIND_TRELLIS:
        rotation = ROTATION_HADAMARD if entry.rotation_block else ROTATION_NONE
        data += struct.pack("<IIQfI", rotation, entry.rotation_block, entry.seed, tensor_scale, entry.flags)
        data += struct.pack(f"<I{len(entry.codebooks)}I", len(entry.codebooks), *entry.codebooks)
    return data + entry.own


_WHERE_IT_EXISTS = "give --force to replace it, or another name"


def check_target(path: Path, force: bool) -> None:
    """Raises PackError where a file cannot be put there or would replace another without `force`."""
    new_file.check_place(path, PackError, replace=force, instead=_WHERE_IT_EXISTS)


def claim(path: Path, force: bool) -> NewFile:
    """The right to write a file, which is taken on entering it: against other packers, and where the directory cannot
    be written, it raises PackError before the work is done."""
    return NewFile(path, PackError, replace=force, instead=_WHERE_IT_EXISTS)


class PackWriter:
    """A `.rbe` file in the making. Use as a context manager; without commit() nothing remains.

        with PackWriter(path, metadata, codebooks, blobs, entries, force=False) as writer:
            for entry in entries:
                writer.write_tensor([data, ...], error, tensor_scale)
            writer.commit()

    claimed: claim() of the same path, where the caller has it already; the writer gives it up at its end, and it says
    whether a file is replaced. parts: what stands beside the tensors. Raises PackError where the target exists already
    (without force), cannot be written, or does not fit on the disk.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, MetadataValue],
        codebooks: Sequence[CodebookEntry],
        blobs: Mapping[str, bytes],
        entries: Sequence[TensorEntry],
        force: bool = False,
        claimed: NewFile | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        self.path = path
        self._claim = claimed or claim(path, force)
        self._head = [_metadata(name, value) for name, value in metadata.items()]
        self._head += [struct.pack("<I16b16b", book.bits, *book.t1, *book.t2) for book in codebooks]
        self._counts = (len(metadata), len(codebooks), len(blobs), len(entries), len(parts))
        self._blobs = blobs
        self.entries = tuple(entries)
        smooth = any(entry.kind in (KIND_SEED64, KIND_BASIS) for entry in entries)
        self._version = VERSION_OF_PARTS if parts else VERSION_OF_SMOOTH_CODES if smooth else VERSION
        self._parts = tuple(parts)
        check_parts(self._parts)
        index_bytes = HEADER_BYTES + sum(map(len, self._head))
        index_bytes += sum(len(_name(name)) + 20 for name in blobs)
        index_bytes += sum(len(_tensor(entry, 0, 0, 0.0, 0.0)) for entry in entries)
        index_bytes += sum(len(part.entry(0, 0)) for part in parts)
        if index_bytes > MAX_INDEX_BYTES:
            raise PackError(f"{path}: the index would take {index_bytes} bytes, more than the format allows")
        self.index_bytes = index_bytes
        self._offsets: list[int] = []
        position = padded(index_bytes)
        behind = (len(part.data) for part in parts)
        for n_bytes in [*map(len, blobs.values()), *(entry.n_bytes for entry in entries), *behind]:
            self._offsets.append(position)
            position = padded(position + n_bytes)
        self.file_bytes = position
        self._blob_entries: list[bytes] = []
        self._tensor_entries: list[bytes] = []
        self._claim.check()

    def __enter__(self) -> PackWriter:
        if self._claim.fd < 0:
            self._claim.__enter__()
        with self._reported():
            try:
                free = shutil.disk_usage(self._claim.place.parent).free
                if free < self.file_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                for name, blob in self._blobs.items():
                    offset = self._offsets[len(self._blob_entries)]
                    checksum = self._write_at(offset, [blob], len(blob))
                    self._blob_entries.append(_name(name) + struct.pack("<QQI", offset, len(blob), checksum))
            except BaseException:
                self._claim.discard()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.discard()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turns what the operating system says into an error with what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                with contextlib.suppress(OSError):
                    free = shutil.disk_usage(self._claim.place.parent).free
                    raise PackError(
                        f"{self.path}: no room to write it: it needs {self.file_bytes:,} bytes, {free:,} are free "
                        f"({error.strerror}); make room or give another place"
                    ) from error
            raise PackError(
                f"{self.path}: cannot be written ({error.strerror}); check the directory and its permissions"
            ) from error

    def _write_at(self, offset: int, data: Iterable[Data], n_bytes: int) -> int:
        """Writes the pieces one after the other and returns the checksum of them all."""
        checksum = 0
        position = offset
        for piece in data:
            view = np.ascontiguousarray(piece).data if isinstance(piece, np.ndarray) else memoryview(piece)
            view = view.cast("B")
            checksum = zlib.crc32(view, checksum)
            while view:
                written = os.pwrite(self._claim.fd, view, position)
                position += written
                view = view[written:]
        assert position - offset == n_bytes, f"{position - offset} bytes written, {n_bytes} expected"
        return checksum

    def write_tensor(self, data: Iterable[Data], error: float, tensor_scale: float = 0.0) -> None:
        """Writes the next tensor: pieces that together have its n_bytes, its relative squared error, its scale."""
        number = len(self._tensor_entries)
        entry = self.entries[number]
        offset = self._offsets[len(self._blobs) + number]
        with self._reported():
            checksum = self._write_at(offset, data, entry.n_bytes)
        self._tensor_entries.append(_tensor(entry, offset, checksum, error, tensor_scale))

    def offset(self, name: str) -> int:
        """Where the data of a tensor begins in the file."""
        number = next(number for number, entry in enumerate(self.entries) if entry.name == name)
        return self._offsets[len(self._blobs) + number]

    def complete(self) -> Path:
        """Writes the index: the file is whole, under a name for a while, which this gives."""
        assert len(self._tensor_entries) == len(self.entries), "tensors are missing"
        with self._reported():
            os.ftruncate(self._claim.fd, self.file_bytes)
            entries = []
            for part, offset in zip(self._parts, self._part_offsets(), strict=True):
                entries.append(part.entry(offset, self._write_at(offset, [part.data], len(part.data))))
            index = self._index(self._blob_entries, self._tensor_entries, entries)
            self._write_at(0, [index], self.index_bytes)
        return self._claim.part

    def commit(self, *, lasting: bool = True) -> None:
        """Completes it unless that was done, waits until all is on disk (lasting: False for a file that is needed for a
        while), and gives the file its name."""
        self.complete()
        self._claim.commit(lasting=lasting)

    def outline(self) -> bytes:
        """The index of the file that would be written, with zeros for what only its data tells: of a file with this
        index and holes up to file_bytes, sizes are right. Needs no entering."""
        offsets = iter(self._offsets)
        blobs = [_name(name) + struct.pack("<QQI", next(offsets), len(blob), 0) for name, blob in self._blobs.items()]
        tensors = [_tensor(entry, next(offsets), 0, 0.0, 0.0) for entry in self.entries]
        return self._index(blobs, tensors, [part.entry(next(offsets), 0) for part in self._parts])

    def _part_offsets(self) -> Sequence[int]:
        return self._offsets[len(self._offsets) - len(self._parts) :]

    def _index(self, blobs: Sequence[bytes], tensors: Sequence[bytes], parts: Sequence[bytes]) -> bytes:
        body = b"".join([*self._head, *blobs, *tensors, *parts])
        assert HEADER_BYTES + len(body) == self.index_bytes

        def header(checksum: int) -> bytes:
            return struct.pack(
                "<8sIIQQIIIII12x", MAGIC, self._version, checksum, self.file_bytes, self.index_bytes, *self._counts
            )

        return header(zlib.crc32(body, zlib.crc32(header(0)))) + body
