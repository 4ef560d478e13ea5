"""Arrays of one packing that do not stay in memory: statistics, factors, hidden states."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.packing.hidden_states import Keeping
from rbe_edge.packing.kept import key_of

FloatArray = npt.NDArray[np.float32]


class ArrayStore:
    """float32 arrays by name. In the user's cache, for an interrupted packing and for other sizes; beside the copy of
    the model, and gone with it, where nothing is kept. For one thread."""

    def __init__(self, directory: Path, keeping: Keeping | None, what: str) -> None:
        """directory: of the copy. keeping: `original` says of what the arrays depend on; None: nothing is kept. what:
        tells them from other arrays of the same model."""
        self._directory = directory
        self._keeping = keeping
        self._what = what

    def put(self, name: str, array: FloatArray) -> None:
        """Raises PackError where there is no room."""
        if self._keeping is not None:
            self._keeping.kept.write(self.key(name), array.data)
            if self._keeping.kept.problem is None:
                return
        try:
            array.tofile(self._path(name))
        except OSError as reason:
            raise PackError(
                f"{self._directory}: no room for the statistics of the model ({reason.strerror}); make room, or "
                "set XDG_CACHE_HOME to another place"
            ) from reason

    def get(self, name: str) -> FloatArray:
        """Flat, read-only perhaps. Raises PackError where it was taken away meanwhile."""
        content = None if self._keeping is None else self._keeping.kept.read(self.key(name))
        if content is not None:
            return np.frombuffer(content, np.float32)
        if not self._path(name).exists():
            lost = "the statistics of the model were removed from the cache while it was packed; start again"
            raise PackError((self._keeping.kept.problem if self._keeping is not None else None) or lost)
        return np.fromfile(self._path(name), np.float32)

    def has(self, name: str) -> bool:
        """Whether there seems to be one."""
        return (self._keeping is not None and self._keeping.kept.has(self.key(name))) or self._path(name).exists()

    def forget(self, name: str) -> None:
        """It is not needed any more."""
        if self._keeping is not None:
            self._keeping.kept.forget([self.key(name)])
        self._path(name).unlink(missing_ok=True)

    def key(self, name: str) -> str:
        """In the cache."""
        assert self._keeping is not None
        return key_of(self._what, self._keeping.original, name)

    def _path(self, name: str) -> Path:
        return self._directory / f"{sha256(f'{self._what} {name}'.encode()).hexdigest()[:24]}.array"


def packed_triangle(factor: FloatArray) -> FloatArray:
    """The upper triangle of [n][n], row by row."""
    return np.concatenate([row[at:] for at, row in enumerate(factor)])


def unpacked_triangle(packed: FloatArray, side: int) -> FloatArray:
    """[side][side] with zeros below, of packed_triangle()."""
    factor = np.zeros((side, side), np.float32)
    at = 0
    for row in range(side):
        factor[row, row:] = packed[at : at + side - row]
        at += side - row
    return factor
