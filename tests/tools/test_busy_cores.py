"""tools/busy_cores.py: the loop is on its core and goes, every side is measured in turn. No time is asserted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rbe_edge.bench.shapes import Shape, write_model
from tools import busy_cores
from tools.busy_cores import Rate, Side

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ties a program to a core")


def children() -> list[int]:
    me = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in me.read_text().split()]


def test_loop_is_on_its_core_and_goes() -> None:
    core = max(os.sched_getaffinity(0))
    before = set(children())
    with busy_cores.busy(core):
        (loop,) = set(children()) - before
        assert os.sched_getaffinity(loop) == {core}
        state = Path(f"/proc/{loop}/stat").read_text().rsplit(")", 1)[1].split()[0]
        assert state == "R"
    assert set(children()) == before
    with busy_cores.busy(None):
        assert set(children()) == before
    with pytest.raises(ValueError, match="core 5000"), busy_cores.busy(5000):
        pass


def test_sides_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "m.rbe"
    write_model(Shape("tiny", "none", 1, 64, 2, 1, 32, 128, 256), (2,), path)
    sides = busy_cores.sides_of([None, min(os.sched_getaffinity(0))], 2, None)
    assert [side.threads for side in sides] == [1, 2, 1, 2]
    rates = busy_cores.measure(path, sides, 1, 8, 4)
    assert all(rate.decode > 0 and rate.prefill > 0 for (rate,) in rates)


def test_table() -> None:
    library = Path("old.so")
    sides = busy_cores.sides_of([None, 1], 3, library)
    assert sides == [
        Side(None, None, 1), Side(None, library, 3), Side(None, None, 3),
        Side(1, None, 1), Side(1, library, 3), Side(1, None, 3),
    ]  # fmt: skip
    steps = [100, 50, 200, 80, 20, 76]
    lines = busy_cores.table(sides, [[Rate(10 * n, n), Rate(12 * n, n + 2), Rate(11 * n, n + 1)] for n in steps])
    last = lines.splitlines()
    assert last[2] == "| none | 1 | 101.0 (100.0 to 102.0) | 1.00 | 1100.0 (1000.0 to 1200.0) | 1.00 |"
    assert last[3].startswith("| none | 3, before | 51.0 (50.0 to 52.0) | 0.50 |")
    assert last[5].startswith("| 1 | 1 | 81.0") and last[7].startswith("| 1 | 3 | 77.0 (76.0 to 78.0) | 0.95 |")
