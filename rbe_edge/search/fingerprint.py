"""What tells a model from all others: a digest of what its file says it holds, checksums of all weights included.

Parts that may be missing, such as the table of power modes, do not count: they change no vector."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.format.frame import index_bytes_of, read_frame
from rbe_edge.format.parts import FLAG_REQUIRED


def fingerprint(path: Path) -> str:
    """Of a .rbe file, 32 hexadecimal digits. Reads its index alone. Raises PackError."""
    try:
        with path.open("rb") as file:
            header = file.read(writer.HEADER_BYTES)
            n_bytes = path.stat().st_size
            end = index_bytes_of(header, n_bytes)
            frame = read_frame(header, file.read(end - len(header)), n_bytes)
    except OSError as error:
        raise PackError(f"{path}: cannot be read ({error.strerror}); give a .rbe file") from None
    except PackError as error:
        raise PackError(f"{path}: {error}") from None
    parts = [(part.name, part.version, part.checksum) for part in frame.parts if part.flags & FLAG_REQUIRED]
    found = hashlib.sha256(frame.moved(-frame.data_range[0]))
    found.update(repr((frame.counts, sorted(parts))).encode())
    return found.hexdigest()[:32]
