"""Programs that carry their model: the program `rbe` in C, zeros to a multiple of 65536, a .rbe file, a trailer that
says where it lies (docs/format.md, "A program that carries its model"). native/cli/self.c writes the same."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.errors import OptionError, RbeError
from rbe_edge.files.new_file import NewFile
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.model import Model

GRAIN = 65536
MAGIC = b"\x89RBE program\r\n\x1a\n"
MARK = b"@(#)rbe program: "
"""What the program in C holds, so that nothing else is given a model to carry."""

_TRAILER = struct.Struct("<16sQQI")  # magic, offset and bytes of the model, zero; behind it the CRC-32 of these
TRAILER_BYTES = _TRAILER.size + 4
_PIECE = 1 << 20
_MOST_FILE_BYTES = 1 << 36


@dataclass(frozen=True)
class Carrying:
    """A program that was made. Bytes of its parts."""

    path: Path
    program_bytes: int
    model_bytes: int


def trailer(offset: int, n_bytes: int) -> bytes:
    """Of a model of so many bytes at an offset."""
    head = _TRAILER.pack(MAGIC, offset, n_bytes, 0)
    return head + struct.pack("<I", zlib.crc32(head))


def program_of(data: bytes, path: Path) -> bytes:
    """The program in a file's bytes, without what it carries already. Raises OptionError where it is none that can
    carry a model."""
    program = data
    if data[-TRAILER_BYTES:].startswith(MAGIC):
        offset, n_bytes = _TRAILER.unpack(data[-TRAILER_BYTES:-4])[1:3]
        whole = trailer(offset, n_bytes) == data[-TRAILER_BYTES:] and offset > 0 and offset % GRAIN == 0
        if not whole or offset + n_bytes + TRAILER_BYTES != len(data):
            raise OptionError(f"{path}: the place of the model that it carries is damaged; give another program")
        program = data[:offset]
    if MARK not in program:
        raise OptionError(f"{path} is no program `rbe` that can carry a model; give one that was built from native/cli")
    return program


def carry(
    model: Path, program: Path, out: Path, *, replace: bool = False, progress: Listener | None = None
) -> Carrying:
    """Writes `out`: the program with the model, for the users that may read new files to run. replace: `out` may exist.

    Raises OptionError for a program that cannot carry a model, ModelError and TokenizerError for a model that cannot be
    run, RbeError where `out` cannot be written.
    """
    try:
        if program.stat().st_size > _MOST_FILE_BYTES:
            raise OptionError(f"{program} is too large to be a program `rbe`; give another")
        own = program_of(program.read_bytes(), program)
    except OSError as reason:
        raise OptionError(f"{program}: cannot be read ({reason.strerror}); give a program `rbe`") from None
    with Model.open(model) as opened:
        assert opened.tokenizer_handle
    n_bytes = model.stat().st_size
    offset = -(-len(own) // GRAIN) * GRAIN
    told = Progress(progress, "writing", n_bytes)
    with (
        NewFile(out, RbeError, replace=replace, instead="give another name, or --force") as file,
        open(model, "rb") as source,
    ):
        file.write(own)
        file.write(bytes(offset - len(own)))
        while piece := source.read(_PIECE):
            told.tell()
            file.write(piece)
            told.done += len(piece)
        if told.done != n_bytes:
            raise RbeError(f"{model}: changed while it was read; try again when it is complete")
        file.write(trailer(offset, n_bytes))
        os.fchmod(file.fd, 0o777 & ~_umask())
        file.commit()
    return Carrying(out, len(own), n_bytes)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
