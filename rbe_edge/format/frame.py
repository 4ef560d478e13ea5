"""The index of a `.rbe` file as bytes, with the places that change where data moves (docs/format.md, section 1).

For writing a file again whose metadata, codebooks, blobs and tensors stay what they are, byte for byte. Everything that
is followed is checked, so that any file gives a Frame or one PackError; what the engine alone must know is not looked
at.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass

from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.format.parts import FLAG_REQUIRED, VERSION_OF_PARTS, Part

_TRELLIS_BYTES = 24  # of an index entry of that kind, behind what all have and before its planes


@dataclass(frozen=True)
class StoredPart:
    """A part without its data, and where that lies."""

    name: str
    version: int
    flags: int
    offset: int
    n_bytes: int
    checksum: int
    more: bytes

    def with_data(self, data: bytes) -> Part:
        """Raises PackError where the data is not what the index says."""
        if len(data) != self.n_bytes or zlib.crc32(data) != self.checksum:
            raise PackError(f"part {self.name}: field `checksum` does not match its data; copy the file again")
        required = bool(self.flags & FLAG_REQUIRED)
        return Part(self.name, self.version, data, required, self.flags & ~FLAG_REQUIRED, self.more)


@dataclass(frozen=True)
class Frame:
    """index: from the end of the header to that of the tensors. areas: of blobs and tensors, each the place of its
    `offset` in `index`, that offset, its bytes. lowest_version: the first that has what stands before the parts."""

    counts: tuple[int, int, int, int]
    index: bytes
    areas: tuple[tuple[int, int, int], ...]
    parts: tuple[StoredPart, ...]
    lowest_version: int

    @property
    def data_range(self) -> tuple[int, int]:
        """Where the first of the areas begins and the last ends, in the file; (0, 0) where there is none."""
        ends = (offset + n_bytes for _, offset, n_bytes in self.areas)
        return min((offset for _, offset, _ in self.areas), default=0), max(ends, default=0)

    def moved(self, by: int) -> bytes:
        """`index` where every area lies `by` bytes further on."""
        index = bytearray(self.index)
        for place, offset, _ in self.areas:
            struct.pack_into("<Q", index, place, offset + by)
        return bytes(index)


class _Walk:
    """Goes through an index, front to back; struct.error and ValueError where it does not hold together."""

    def __init__(self, index: bytes, file_bytes: int) -> None:
        self.index = index
        self.file_bytes = file_bytes
        self.position = 0
        self.areas: list[tuple[int, int, int]] = []

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self.index, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def skip(self, n_bytes: int) -> bytes:
        if n_bytes > len(self.index) - self.position:
            raise ValueError("an entry goes past the end of the index")
        self.position += n_bytes
        return self.index[self.position - n_bytes : self.position]

    def counted(self) -> bytes:
        return self.skip(*self.take("I"))

    def area(self) -> tuple[int, int, int]:
        """Offset, bytes and checksum of data in the file."""
        offset, n_bytes, checksum = self.take("QQI")
        outside = offset < writer.HEADER_BYTES + len(self.index) or offset + n_bytes > self.file_bytes
        if outside or offset % writer.ALIGNMENT:
            raise ValueError("data lies outside its place")
        return offset, n_bytes, checksum

    def metadata(self) -> None:
        self.counted()
        (kind,) = self.take("I")
        sizes = {writer.U64: 8, writer.F64: 8}
        if kind in (writer.STRING, writer.U64_ARRAY):
            (count,) = self.take("I")
            sizes[kind] = count if kind == writer.STRING else 8 * count
        if kind not in sizes:
            raise ValueError(f"metadata of type {kind}")
        self.skip(sizes[kind])

    def blob(self) -> None:
        self.counted()
        place = self.position
        self.areas.append((place, *self.area()[:2]))

    def tensor(self) -> int:
        """Its kind."""
        self.counted()
        kind, _, _ = self.take("III")
        place = self.position
        self.areas.append((place, *self.area()[:2]))
        self.take("f")
        if kind == writer.KIND_TRELLIS:
            self.skip(_TRELLIS_BYTES)
            (n_planes,) = self.take("I")
            self.skip(4 * n_planes)
        elif kind in writer.OWN_BYTES:
            self.skip(writer.OWN_BYTES[kind])
        elif not writer.KIND_FP32 <= kind <= writer.KIND_BASIS:
            raise ValueError(f"a tensor of kind {kind}")
        return kind

    def part(self) -> StoredPart:
        name = self.counted().decode("ascii")
        version, flags = self.take("II")
        offset, n_bytes, checksum = self.area()
        return StoredPart(name, version, flags, offset, n_bytes, checksum, self.counted())


def read_frame(header: bytes, index: bytes, file_bytes: int) -> Frame:
    """header: the first 64 bytes of a file of file_bytes; index: what follows up to its end. Raises PackError."""
    version, checksum = struct.unpack_from("<II", header, 8)
    if zlib.crc32(index, zlib.crc32(header[:12] + bytes(4) + header[16:])) != checksum:
        raise PackError("damaged file: field `index_checksum` does not match; copy it again")
    counts = struct.unpack_from("<IIII", header, 32)
    n_parts = struct.unpack_from("<I", header, 48)[0] if version >= VERSION_OF_PARTS else 0
    walk = _Walk(index, file_bytes)
    try:
        for _ in range(counts[0]):
            walk.metadata()
        for _ in range(counts[1]):
            walk.skip(36)
        for _ in range(counts[2]):
            walk.blob()
        smooth = [walk.tensor() in (writer.KIND_SEED64, writer.KIND_BASIS) for _ in range(counts[3])]
        end = walk.position
        parts = tuple(walk.part() for _ in range(n_parts))
        if walk.position != len(index):
            raise ValueError("the lists end elsewhere than the index")
        places = [(offset, n_bytes) for _, offset, n_bytes in walk.areas]
        places = sorted(places + [(part.offset, part.n_bytes) for part in parts])
        if any(offset + n_bytes > after for (offset, n_bytes), (after, _) in itertools.pairwise(places)):
            raise ValueError("two data areas overlap")
    except (struct.error, ValueError) as reason:
        raise PackError(f"damaged file: its index does not hold together ({reason}); copy it again") from None
    lowest = writer.VERSION_OF_SMOOTH_CODES if any(smooth) else writer.VERSION
    return Frame(counts, index[:end], tuple(walk.areas), parts, lowest)


def index_bytes_of(header: bytes, file_bytes: int) -> int:
    """The end of the index of a file of file_bytes, from its first 64 bytes. Raises PackError where it is none."""
    if len(header) < writer.HEADER_BYTES or not header.startswith(writer.MAGIC):
        raise PackError("not a .rbe file (field `magic`)")
    version, _, said, index_bytes = struct.unpack_from("<IIQQ", header, 8)
    if not 1 <= version <= VERSION_OF_PARTS:
        raise PackError(f"field `version`: format {version}, and this build writes 1 to {VERSION_OF_PARTS} again")
    if said != file_bytes:
        raise PackError(f"field `file_bytes`: the file should be {said} bytes and is {file_bytes}; copy it again")
    if not writer.HEADER_BYTES <= index_bytes <= min(file_bytes, writer.MAX_INDEX_BYTES):
        raise PackError("damaged file: header field `index_bytes`; copy it again")
    return int(index_bytes)
