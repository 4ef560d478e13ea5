"""A machine that is a tree of files: a battery, and a counter of energy that grows with a known power."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rbe_edge.machine.power import Policy

#: Switches as soon as the sensors say so.
AT_ONCE = Policy(least_seconds=0, charger_seconds=0, hysteresis=0)


class FakeMachine:
    """root: for Power()."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._battery = root / "sys/class/power_supply/BAT0"
        self._rapl = root / "sys/class/powercap/intel-rapl:0"

    def battery(self, percent: int) -> None:
        """It discharges, and holds so much."""
        self._battery.mkdir(parents=True, exist_ok=True)
        files = {"type": "Battery", "present": "1", "status": "Discharging", "capacity": str(percent)}
        for name, text in files.items():
            self._replace(self._battery / name, text)

    @contextmanager
    def takes(self, watts: float) -> Iterator[None]:
        """Meanwhile RAPL counts so much."""
        self._rapl.mkdir(parents=True, exist_ok=True)
        began, ended = time.monotonic(), threading.Event()

        def write() -> None:
            self._replace(self._rapl / "energy_uj", str(1000 + int(1e6 * watts * (time.monotonic() - began))))

        def count() -> None:
            while not ended.wait(0.005):
                write()

        self._replace(self._rapl / "name", "package-0")
        self._replace(self._rapl / "max_energy_range_uj", "262143328850")
        write()
        thread = threading.Thread(target=count)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _replace(self, path: Path, text: str) -> None:
        """At once, as a file of the kernel changes."""
        path.with_suffix(".new").write_text(f"{text}\n", encoding="ascii")
        path.with_suffix(".new").replace(path)
