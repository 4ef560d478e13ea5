"""The tensors that an interrupted packing has encoded, for the next run of the same work."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rbe_edge.packing.kept import Kept, key_of

_HEAD = struct.Struct("<dd")  # error, tensor scale


@dataclass(frozen=True)
class Finished:
    """A tensor as its file holds it. data: its bytes; error and tensor_scale as in trellis.Encoded."""

    data: bytes
    error: float
    tensor_scale: float


class EncodedTensors:
    """By their number in the file. key: of all that the bytes of the file depend on; kept: None keeps nothing."""

    def __init__(self, kept: Kept | None, key: str) -> None:
        self._of_file = key
        self._kept = kept
        self._written: set[int] = set()

    def read(self, number: int, n_bytes: int) -> Finished | None:
        """A tensor whose data has n_bytes; None where it is not there whole."""
        content = self._kept.read(self._key(number)) if self._kept is not None else None
        if content is None or len(content) != _HEAD.size + n_bytes:
            return None
        self._written.add(number)
        return Finished(content[_HEAD.size :], *_HEAD.unpack(content[: _HEAD.size]))

    def has(self, number: int) -> bool:
        """Whether there seems to be one."""
        return self._kept is not None and self._kept.has(self._key(number))

    def write(self, number: int, finished: Finished) -> None:
        """Keeps a tensor."""
        if self._kept is not None:
            self._kept.write(self._key(number), _HEAD.pack(finished.error, finished.tensor_scale), finished.data)
            self._written.add(number)

    def forget(self) -> None:
        """The file is complete."""
        if self._kept is not None:
            self._kept.forget(map(self._key, sorted(self._written)))
        self._written.clear()

    def _key(self, number: int) -> str:
        return key_of("tensor", self._of_file, number)
