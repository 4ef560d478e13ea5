"""A discharge replayed: modes follow it, the text goes on, and files that are no traces are refused."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from test_power_bench import TABLE, TINY

from rbe_edge.bench import shapes, trace_report
from rbe_edge.bench.battery_trace import Point, Replay, Span, Switch, read_trace, replay, scaled
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.power import Policy
from rbe_edge.runtime.model import Model

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")

DISCHARGE = """\
# seconds percent charging celsius
0 80
100 40          # balanced
200 15 0 50     # saver
300 4 0 50      # emergency
400 4 1 50      # a charger that flaps, each time for less than the policy's 10 s
408 4 0 50
420 4 1 50
428 4 0 50
500 4 0 50
"""


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "nested.rbe"
    shapes.write_model(TINY, (2, 2), path)
    replace_parts(path, [TABLE.part()])
    return path


def test_modes_follow_a_discharge_and_the_text_goes_on(nested: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text(DISCHARGE)
    with Model.open(nested) as model:
        found = replay(model, read_trace(trace), lambda *told: None, policy=Policy(), speed=50, threads=2)
    assert [(switch.mode, switch.reason) for switch in found.switches] == [
        ("balanced", "40 %"), ("saver", "15 %, 50 C"), ("emergency", "4 %, 50 C"),
    ]  # fmt: skip
    for switch, at in zip(found.switches, (100, 200, 300), strict=True):
        assert at <= switch.trace_s <= at + 100  # sensors are read once a second, of 50 of the trace
    assert [span.mode for span in found.spans] == ["performance", "balanced", "saver", "emergency"]
    assert found.complete and found.kept and found.trace_s == 500
    assert all(span.n_tokens > 0 for span in found.spans) and found.n_tokens > 600  # more than the context of 512
    assert found.switches[1].n_tokens == found.spans[0].n_tokens + found.spans[1].n_tokens
    assert found.longest_gap_s < 5 and found.unseen == 3


def test_it_begins_in_the_mode_of_the_first_point_and_can_be_stopped(nested: Path) -> None:
    points = [Point(0, 10), Point(1e6, 9)]
    with Model.open(nested) as model:
        found = replay(model, points, lambda what, done, total: done > 0, policy=Policy(), threads=1)
    assert not found.complete and found.spans[0].mode == "saver" and not found.switches and found.n_tokens > 0


def test_the_policy_goes_as_fast_as_the_trace() -> None:
    policy = scaled(Policy(least_seconds=30, charger_seconds=10, hot=85), 20)
    assert (policy.least_seconds, policy.charger_seconds, policy.hot) == (1.5, 0.5, 85)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 points"),
        ("0 50\n", "has 1 points"),
        ("0 50\n0 49\n", "line 2: its time is not behind"),
        ("0 50\n1\n", "line 2: not `seconds percent"),
        ("0 50\n1 50 0 30 1\n", "line 2: not `seconds percent"),
        ("0 50\nx 50\n", "line 2: not `seconds percent"),
        ("0 50\n1 101\n", "line 2: seconds from 0 on"),
        ("0 50\n1 nan\n", "line 2: seconds from 0 on"),
        ("0 50\ninf 50\n", "line 2: seconds from 0 on"),
        ("-1 50\n1 50\n", "line 1: seconds from 0 on"),
        ("0 50 2\n1 50\n", "line 1: seconds from 0 on"),
        ("0 50 0 nan\n1 50\n", "line 1: seconds from 0 on"),
        ("0 50 0 900\n1 50\n", "line 1: seconds from 0 on"),
        ("\x00\xff\n", "line 1: not `seconds percent"),
        ("# " + "x" * (4 << 20), "is larger than 4 MB"),
    ],
)
def test_what_is_no_trace(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trace").write_text(text, encoding="latin-1")
    with pytest.raises(OptionError, match=message):
        read_trace(tmp_path / "trace")
    with pytest.raises(OptionError, match="cannot be read"):
        read_trace(tmp_path)


def test_points(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0 100\n\n5.5 99.5 1 # on mains\n9 98 0 -3\n")
    assert read_trace(tmp_path / "trace") == [Point(0, 100), Point(5.5, 99.5, True), Point(9, 98, False, -3)]


def test_forms() -> None:
    switch = Switch(120.0, 2.0, "balanced", "40 %", 50, True)
    spans = [Span("performance", 2.0, 50), Span("balanced", 4.0, 80)]
    found = Replay("m.rbe", 60, 360, spans, [switch], 0.25, 2, True)
    whole = json.loads(trace_report.as_json(found))
    assert whole["modes"]["balanced"] == {"tokens": 80, "seconds": 4.0, "tokens_per_s": 20.0}
    assert whole["tokens"] == 130 and whole["text_kept"] and whole["switches"][0]["reason"] == "40 %"
    (row,) = csv.DictReader(io.StringIO(trace_report.as_csv(found)))
    assert (row["trace_s"], row["mode"], row["tokens_before"]) == ("120.0", "balanced", "50")
    text = trace_report.as_markdown(found)
    for line in (
        "| 120 s | 50 | balanced | 40 % |",
        "| balanced | 80 | 4.0 | 20.0 |",
        "longest time without one was 250 ms",
    ):
        assert line in text
    assert "is what it was" in text and "2 points were gone" in text
    lost = Replay("m.rbe", 60, 360, spans, [Switch(1, 1, "saver", "", 5, False)], 0.25, 0, False)
    assert "is NOT what it was" in trace_report.as_markdown(
        lost
    ) and "before the trace's end" in trace_report.as_markdown(lost)


def test_command(nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace").write_text("0 60\n1 12\n")
    arguments = ["bench", str(nested), "--battery-trace", str(tmp_path / "trace"), "-t", "1"]
    assert main([*arguments, "--trace-speed", "10", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert [switch["mode"] for switch in whole["switches"]] == ["saver"] and whole["text_kept"]
    assert main([*arguments, "--trace-speed", "0"]) == 2
    assert "--trace-speed is from 0.01" in capsys.readouterr().err
    (tmp_path / "policy").write_text("performance_above = 5\n")
    assert main([*arguments, "--policy", str(tmp_path / "policy")]) == 2
    assert capsys.readouterr().err
