"""Many clients at once: what the server promises holds for a while, and what is broken is seen."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("llguidance")
if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

from tools import soak, soak_clients

#: A server that has just begun still fills its caches.
GROWTH_MB = 64.0


def test_every_promise_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = soak.soak(tmp_path, seconds=20, n_clients=6, seed=7, growth_mb=GROWTH_MB)
    assert report.faults == []
    kinds = {"whole", "stream", "vectors", "other", "leave", "nonsense", "wrong"}
    assert kinds <= set(report.seen) and report.failures_5xx == 0
    assert report.swaps > 0 and report.switches > 0
    assert report.lines()[-1] == "every promise held"


def test_a_wrong_answer_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = soak.known_answers()
    wrong = dataclasses.replace(known, answers=dict.fromkeys(known.answers, "another answer"))
    monkeypatch.setattr(soak, "known_answers", lambda: wrong)
    report = soak.soak(tmp_path, seconds=3, n_clients=3, seed=7, growth_mb=GROWTH_MB)
    assert any("not 'another answer'" in fault for fault in report.faults)
    assert "promises broken" in report.lines()[-1]


def test_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that grows, descriptors that stay open, answers 5xx, and a traceback."""
    seen = soak_clients.Seen(failures_5xx=2, latencies=[(0.0, 0.010), (0.0, 0.030), (99.0, 0.020)])
    memory = [10_000_000 + 1_000_000 * second for second in range(100)]
    report = soak._report(100.0, seen, memory, 3, (7, 20), 0.0, "Traceback (most recent call last):", [], 16.0)
    told = "\n".join(report.faults)
    for words in ("memory grew by 57.", "20 descriptors are open, 7 were before", "2 answers 5xx", "a traceback"):
        assert words in told
    assert report.p50_ms == (30.0, 20.0) and abs(report.growth_mb_per_hour - 3600) < 100


def test_a_server_that_lies_is_caught() -> None:
    """Refusals that are none, and answers 5xx."""
    seen = soak_clients.Seen()
    client = soak_clients.Client(1, soak_clients.Known({"?": "!"}, {}, ("m",), ()), seen, threading.Event(), 1)
    client._check_status(b"HTTP/1.1 200 OK\r\n", "nonsense", refused=True)
    client._check_status(b"HTTP/1.1 500 Internal\r\n", "stall")
    client._check_status(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n", "stall")
    assert seen.failures_5xx == 1 and len(seen.faults) == 1 and "200 OK" in seen.faults[0]
