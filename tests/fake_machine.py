"""A machine that is a tree of files: a battery, and a counter of energy that grows with a known power."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rbe_edge.machine.power import Policy

#: Switches as soon as the sensors say so.
AT_ONCE = Policy(least_seconds=0, charger_seconds=0, hysteresis=0)

_PERIOD_S = 0.005


def replace(path: Path, text: str) -> None:
    """At once, as a file of the kernel changes."""
    path.with_suffix(".new").write_text(f"{text}\n", encoding="ascii")
    path.with_suffix(".new").replace(path)


def write(root: Path, place: str, files: dict[str, str]) -> Path:
    """Files of a folder of /sys/class, which is returned."""
    directory = root / "sys/class" / place
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        replace(directory / name, text)
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
            replace(self._directory / "energy_uj", str(round(1e6 * (self.joules % self.range_j))))

    def _count(self) -> None:
        while not self._ended.wait(_PERIOD_S):
            self.advance()


class FakeMachine:
    """root: for Power()."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def battery(self, percent: int) -> None:
        """It discharges, and holds so much."""
        files = {"type": "Battery", "present": "1", "status": "Discharging", "capacity": str(percent)}
        write(Path(self.root), "power_supply/BAT0", files)

    @contextmanager
    def takes(self, watts: float) -> Iterator[None]:
        """Meanwhile RAPL counts so much."""
        with RaplCounter(Path(self.root), watts, range_j=262143.32885, begin_j=0.001):
            yield
