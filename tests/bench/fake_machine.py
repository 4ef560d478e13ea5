"""A machine as a tree of files, whose RAPL counter a thread advances with a known power."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

_PERIOD_S = 0.01


def write(root: Path, place: str, files: dict[str, str]) -> Path:
    directory = root / "sys/class" / place
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text + "\n")
    return directory


class RaplCounter:
    """Advances all the time, and to the moment where advance() is called. A context manager."""

    def __init__(self, root: Path, watts: float, range_j: float, begin_j: float) -> None:
        self.joules = begin_j
        self.range_j = range_j
        self._watts = watts
        self._at = time.monotonic()
        self._lock = threading.Lock()
        largest = str(round(1e6 * range_j))
        files = {"name": "package-0", "energy_uj": str(round(1e6 * begin_j)), "max_energy_range_uj": largest}
        self._directory = write(root, "powercap/intel-rapl:0", files)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> RaplCounter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def set_watts(self, watts: float) -> None:
        """From now on."""
        self.advance()
        self._watts = watts

    def advance(self) -> None:
        with self._lock:
            now = time.monotonic()
            self.joules += self._watts * (now - self._at)
            self._at = now
            new = self._directory / "new"
            new.write_text(f"{round(1e6 * (self.joules % self.range_j))}\n")
            new.rename(self._directory / "energy_uj")

    def _count(self) -> None:
        while not self._ended.wait(_PERIOD_S):
            self.advance()
