"""Arrays of one packing that do not stay in memory: feedback factors, hidden states."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.packing.kept import KEPT_BYTES, Keeping, key_of

FloatArray = npt.NDArray[np.float32]


class ArrayStore:
    """float32 arrays by name, and records of what belongs to them. In the user's cache, for an interrupted packing and
    for other sizes; beside the copy of the model, and gone with it, where nothing is kept. For one thread."""

    def __init__(self, directory: Path, keeping: Keeping | None, what: str, n_bytes: int) -> None:
        """directory: of the copy. keeping: None where nothing is kept. what: tells these arrays from others of the same
        model. n_bytes: of all of them; what would push itself out of the cache is not kept there."""
        self._directory = directory
        self._keeping = keeping if n_bytes <= KEPT_BYTES // 2 else None
        self._what = what

    def put(self, name: str, array: FloatArray) -> None:
        """Raises PackError where there is no room."""
        if self._keeping is not None:
            self._keeping.kept.write(self._key(name), array.data)
            if self._keeping.kept.problem is None:
                return
        try:
            array.tofile(self._path(name))
        except OSError as reason:
            raise PackError(
                f"{self._directory}: no room for the statistics of the model ({reason.strerror}); make room, or "
                "set XDG_CACHE_HOME to another place"
            ) from reason

    def find(self, name: str) -> FloatArray | None:
        """Flat, read-only perhaps; None where it is not there whole."""
        content = None if self._keeping is None else self._keeping.kept.read(self._key(name))
        if content is not None:
            return np.frombuffer(content, np.float32)
        return np.fromfile(self._path(name), np.float32) if self._path(name).exists() else None

    def get(self, name: str) -> FloatArray:
        """As find(). Raises PackError where it is gone."""
        found = self.find(name)
        if found is None:
            raise PackError("the statistics of the model were removed from the cache while it was packed; start again")
        return found

    def forget(self, name: str) -> None:
        """It is not needed any more."""
        if self._keeping is not None:
            self._keeping.kept.forget([self._key(name)])
        self._path(name).unlink(missing_ok=True)

    def save(self, name: str, record: Mapping[str, Any], arrays: Iterable[str]) -> None:
        """Keeps a record, for JSON, of what belongs to arrays that were put."""
        if self._keeping is not None:
            content = json.dumps({"arrays": list(arrays), "record": record})
            self._keeping.kept.write(self._key(f"record {name}"), content.encode())

    def restore(self, name: str) -> Any | None:
        """A record that was kept; None without all of its arrays."""
        content = None if self._keeping is None else self._keeping.kept.read(self._key(f"record {name}"))
        if content is None or self._keeping is None:
            return None
        found = json.loads(content)
        there = all(self._keeping.kept.has(self._key(array)) for array in found["arrays"])
        return found["record"] if there else None

    def put_factor(self, name: str, factor: FloatArray) -> None:
        """Upper triangular, [n][n]. Raises as put()."""
        self.put(name, np.concatenate([row[at:] for at, row in enumerate(factor)]))

    def get_factor(self, name: str) -> FloatArray:
        """With zeros below. Raises as get()."""
        packed = self.get(name)
        side = (math.isqrt(8 * len(packed) + 1) - 1) // 2
        factor = np.zeros((side, side), np.float32)
        at = 0
        for row in range(side):
            factor[row, row:] = packed[at : at + side - row]
            at += side - row
        return factor

    def _key(self, name: str) -> str:
        assert self._keeping is not None
        return key_of(self._what, self._keeping.key, name)

    def _path(self, name: str) -> Path:
        return self._directory / f"{sha256(f'{self._what} {name}'.encode()).hexdigest()[:24]}.array"
