"""A machine as a tree of files, whose RAPL counter a thread advances with a known power."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

_PERIOD_S = 0.004


def write(root: Path, place: str, files: dict[str, str]) -> Path:
    directory = root / "sys/class" / place
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text + "\n")
    return directory


class RaplCounter:
    """`watts` may be changed at any time. late: the longest time that the counter stood still. A context manager."""

    def __init__(self, root: Path, watts: float, range_uj: int) -> None:
        self.watts = watts
        self.late = 0.0
        self.wraps = 0
        self._range = range_uj
        self._directory = write(
            root, "powercap/intel-rapl:0", {"name": "package-0", "energy_uj": "0", "max_energy_range_uj": str(range_uj)}
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> RaplCounter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _count(self) -> None:
        value, before = 0.0, time.monotonic()
        while not self._ended.wait(_PERIOD_S):
            now = time.monotonic()
            value += 1e6 * self.watts * (now - before)
            self.late = max(self.late, now - before)
            before = now
            self.wraps = int(value // self._range)
            new = self._directory / "new"
            new.write_text(f"{int(value) % self._range}\n")
            new.rename(self._directory / "energy_uj")
