"""The parts of a `.rbe` file: named pieces of data beside its tensors (docs/format.md, "Parts")."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from rbe_edge.errors import PackError

VERSION_OF_PARTS = 3  # of the format, the first that has them
MAX_PARTS = 256
FLAG_REQUIRED = 1
_NAME = re.compile(r"[a-z0-9_.]{1,32}")


@dataclass(frozen=True)
class Part:
    """One part. required: a reader that does not know this version of it refuses the file. flags, more: what later
    versions of the format say of it, for those who write a file again. Raises PackError for what a file cannot hold."""

    name: str
    version: int
    data: bytes
    required: bool = False
    flags: int = 0  # without that of `required`
    more: bytes = b""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PackError(f"part {self.name!r}: a name is 1 to 32 characters of a-z, 0-9, `_` and `.`; give another")
        if not (1 <= self.version < 2**32 and 0 <= self.flags < 2**32 and not self.flags & FLAG_REQUIRED):
            raise PackError(f"part {self.name}: version or flags are outside their range")

    def entry(self, offset: int, checksum: int) -> bytes:
        """What the index says of it; as long whatever the numbers are."""
        name = self.name.encode()
        flags = self.flags | (FLAG_REQUIRED if self.required else 0)
        head = struct.pack("<I", len(name)) + name + struct.pack("<II", self.version, flags)
        return head + struct.pack("<QQII", offset, len(self.data), checksum, len(self.more)) + self.more


def check_parts(parts: tuple[Part, ...]) -> None:
    """Raises PackError where they cannot stand in one file."""
    names = [part.name for part in parts]
    if len(names) > MAX_PARTS:
        raise PackError(f"{len(names)} parts: a file holds at most {MAX_PARTS}; remove some")
    for name in names:
        if names.count(name) > 1:
            raise PackError(f"part {name}: is there twice; leave out one")
