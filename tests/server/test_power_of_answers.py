"""What the server says of power modes and energy, on machines that are trees of files."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_machine import AT_ONCE, FakeMachine
from server_tools import CHAT, ask, running

from rbe_edge.cli import serve_command
from rbe_edge.cli.main import main
from rbe_edge.cli.power_arguments import measuring_sensors
from rbe_edge.format import modes
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.power import Energy, Mode, Power, Sample
from rbe_edge.runtime.governor import Goals, Governor, GovernorInfo
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import KvType
from rbe_edge.server import power
from rbe_edge.server.log import RepeatedLines, log_switch

httpx = pytest.importorskip("httpx")
pytest.importorskip("openai")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")

CONTEXT = 1024  # of the demo
WATTS = 20.0
STORY = "tell me a story"
RATE = 25.0  # tokens/s: so slow that waiting, which takes as long anywhere, is most of an answer


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@contextlib.contextmanager
def governed(model: Model, machine: FakeMachine, **options: Any) -> Iterator[Governor]:
    with Power(machine.root) as sensors, Governor(model, sensors, **options) as governor:
        yield governor


def test_metrics_show_the_mode_before_the_first_token(model: Model, machine: FakeMachine) -> None:
    machine.battery(15)
    with governed(model, machine) as governor, running(model, slots=1, governor=governor) as server:
        lines = httpx.get(server.url + "/metrics").text.splitlines()
    assert 'rbe_power_mode{mode="saver"} 1' in lines and 'rbe_power_mode{mode="performance"} 0' in lines
    assert "rbe_power_switches_total 0" in lines


def least_joules(tokens: int) -> float:
    """What as many tokens take at RATE, however busy the machine is; a tenth is for the steps of the counter."""
    return 0.9 * WATTS * (tokens - 1) / RATE


def test_usage_has_mode_and_joules(model: Model, machine: FakeMachine) -> None:
    """Of a known power: what an answer took is the power times its time, and two at a time share it."""
    machine.battery(15)
    with (
        machine.takes(WATTS),
        governed(model, machine, goals=Goals(tokens_per_s=RATE)) as governor,
        running(model, slots=2, governor=governor) as server,
    ):
        client = server.client()
        began = time.monotonic()
        usage = ask(client, STORY, max_tokens=20).usage
        truth = WATTS * (time.monotonic() - began)
        assert (usage.power["mode"], usage.power["reason"]) == ("saver", "15 %")
        assert least_joules(usage.completion_tokens) <= usage.power["joules"] <= truth + 0.5
        of_tokens = usage.power["joules_per_token"] * usage.completion_tokens
        assert least_joules(usage.completion_tokens) <= of_tokens <= usage.power["joules"] + 1e-3

        began = time.monotonic()
        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(lambda seed: ask(client, STORY, max_tokens=20, seed=seed).usage, (1, 2)))
        truth = WATTS * (time.monotonic() - began)
        least = least_joules(max(usage.completion_tokens for usage in both))
        assert least <= sum(usage.power["joules"] for usage in both) <= truth + 0.5

        streamed = list(ask(client, stream=True, stream_options={"include_usage": True}, max_tokens=2))
        assert streamed[-1].usage.power["mode"] == "saver"
        text = client.completions.create(model="demo", prompt="Once", max_tokens=2, n=2)
        assert text.usage.power["mode"] == "saver" and text.usage.completion_tokens == 4


@dataclass
class Scripted:
    """A governor whose sensors say one reading after the other."""

    readings: list[Energy]

    @property
    def power(self) -> Scripted:
        return self

    def energy(self) -> Energy:
        return self.readings.pop(0)

    @property
    def info(self) -> GovernorInfo:
        return GovernorInfo(Mode.SAVER, "18 %", 0, 0.0, None, 0.0, 0, 1)


def reading(joules: float | None, *, index: int = 0, resolution: float = 1e-4) -> Energy:
    return Energy(joules, 0.0, resolution, joules is not None, index, "RAPL psys", "whole machine", "")


def test_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time that was worked on each; what a machine takes at rest is nobody's; what cannot be known is None."""
    clock = [0.0]
    monkeypatch.setattr(power.time, "monotonic", lambda: clock[0])

    def worked(meter: power.PowerMeter, answers: list[power.Spent], seconds: float, *, on_tokens: bool) -> None:
        with meter.working(answers, on_tokens=on_tokens):
            clock[0] += seconds

    def meter_of(*readings: Energy) -> power.PowerMeter:
        return power.PowerMeter(Scripted(list(readings)))  # type: ignore[arg-type]

    meter, one, two = meter_of(reading(10), reading(14), reading(50), reading(53)), power.Spent(), power.Spent()
    meter.begin()
    worked(meter, [one], 0.1, on_tokens=False)
    worked(meter, [one, two], 0.1, on_tokens=True)
    assert (one.joules, two.joules) == (0.0, 0.0)  # not read yet
    used = meter.use(one)
    assert used == power.PowerUse(Mode.SAVER, "18 %", pytest.approx(3.0), pytest.approx(1.0))
    assert two.joules == pytest.approx(1.0)
    meter.rest()  # 36 J pass
    meter.begin()
    worked(meter, [two], 0.1, on_tokens=True)
    assert meter.use(two) == power.PowerUse(Mode.SAVER, "18 %", pytest.approx(4.0), pytest.approx(4.0))
    for second, known in (
        (reading(14, index=1), False),  # another source
        (reading(None), False),
        (reading(10), False),  # nothing was counted
        (reading(46, resolution=36), False),  # one step of a battery's gauge
        (reading(14), True),
    ):
        meter, one = meter_of(reading(10), second), power.Spent()
        meter.begin()
        worked(meter, [one], 0.1, on_tokens=True)
        used = meter.use(one)
        assert used is not None and (used.joules is not None, used.token_joules is not None) == (known, known)
    both = [power.PowerUse(Mode.SAVER, "a", 2.0, 1.0), power.PowerUse(Mode.BALANCED, "b", 3.0, 1.5)]
    told = {"mode": "balanced", "reason": "b", "joules": 5.0, "joules_per_token": 0.25}
    assert power.usage_of_power(both, 10) == told
    partly = power.usage_of_power([*both, power.PowerUse(Mode.SAVER, "c", None, None)], 10)
    assert (partly["joules"], partly["joules_per_token"]) == (None, None)


def test_names_of_drivers_in_metrics() -> None:
    odd = replace(reading(5.0), source='a"b\\c\nd')
    scripted = Scripted([odd])
    scripted.sample = Sample  # type: ignore[attr-defined]
    lines = list(power.power_lines(scripted))  # type: ignore[arg-type]
    assert 'rbe_energy_joules_total{source="a\\"b\\\\c\\nd",covers="whole machine"} 5' in lines
    assert all("\n" not in line for line in lines)
    assert not any("battery" in line or "celsius" in line or "throttled" in line for line in lines)


def test_what_is_not_measured_is_null(model: Model, machine: FakeMachine) -> None:
    machine.battery(80)
    with governed(model, machine) as governor, running(model, slots=1, governor=governor) as server:
        body = httpx.post(server.url + "/v1/chat/completions", json=CHAT).json()
        lines = httpx.get(server.url + "/metrics").text
    assert body["usage"]["power"] == {"mode": "performance", "reason": "80 %", "joules": None, "joules_per_token": None}
    assert "rbe_energy_joules_total" not in lines and "rbe_temperature_celsius" not in lines


def test_without_a_governor_there_is_no_field(model: Model) -> None:
    with running(model, slots=1) as server:
        assert "power" not in httpx.post(server.url + "/v1/chat/completions", json=CHAT).json()["usage"]
        assert "rbe_power" not in httpx.get(server.url + "/metrics").text


def test_metrics_and_log(model: Model, machine: FakeMachine) -> None:
    """A switch is one line each, however often the same one comes."""
    machine.battery(80)
    said = io.StringIO()
    handler, log = RepeatedLines(said), logging.getLogger("rbe_edge.server")
    log.addHandler(handler)
    try:
        with (
            machine.takes(WATTS),
            governed(model, machine, policy=AT_ONCE, log=log_switch) as governor,
            running(model, slots=1, governor=governor) as server,
        ):
            for percent in (80, 15, 80, 15):
                machine.battery(percent)
                time.sleep(1.01)  # sensors are read once a second
                assert httpx.post(server.url + "/v1/chat/completions", json=CHAT).status_code == 200
            lines = httpx.get(server.url + "/metrics").text.splitlines()
    finally:
        log.removeHandler(handler)
        handler.close()
    expected = ["saver: 15 %", "performance: 80 %", "saver: 15 %"]
    assert said.getvalue().splitlines() == [f"rbe: power mode {line}" for line in expected]
    for line in (
        'rbe_power_mode{mode="saver"} 1',
        'rbe_power_mode{mode="performance"} 0',
        "rbe_power_switches_total 3",
    ):
        assert line in lines
    assert "rbe_battery_ratio 0.15" in lines and "rbe_battery_charging 0" in lines
    labels = 'rbe_energy_joules_total{source="RAPL package-0",covers="package"} '
    (joules,) = (float(line.removeprefix(labels)) for line in lines if line.startswith(labels))
    assert joules > WATTS * 4  # of the four seconds at least
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_the_table_of_the_file_is_in_the_list_of_models(tmp_path: Path) -> None:
    path = tmp_path / "demo.rbe"
    shutil.copy(demo_path(), path)
    with Model.open(path) as plain:
        n_layers = plain.info.layers
    measured = {"n_tokens": 512, "top1": 0.9}
    table = modes.ModeTable(
        n_layers,
        (
            modes.Mode(bytes_per_token=1000, perplexity=10.0, n_tokens=512, top1=1.0),
            modes.Mode(bytes_per_token=1000, perplexity=10.0, n_tokens=512, top1=1.0, reason="nothing reads less"),
            modes.Mode((modes.SKIP,) + (0,) * (n_layers - 1), bytes_per_token=900, perplexity=10.5, kl=0.1, **measured),
            modes.Mode((modes.SKIP,) + (0,) * (n_layers - 1), bytes_per_token=900, perplexity=10.5, kl=0.1, **measured),
        ),
        "a text",
    )
    replace_parts(path, [table.part()])
    with Model.open(path) as model, running(model, slots=1) as server:
        (listed,) = httpx.get(server.url + "/v1/models").json()["data"]
        (known,) = server.client().models.list().data
    assert known.power_modes == listed["power_modes"]
    assert (listed["power_modes"]["measured_on"], listed["power_modes"]["kl_against"]) == ("a text", "itself")
    rows = {row["mode"]: row for row in listed["power_modes"]["modes"]}
    assert rows["saver"]["perplexity"] == 10.5 and rows["saver"]["kl"] == 0.1 and rows["saver"]["reason"] is None
    assert rows["balanced"]["reason"] == "nothing reads less" and rows["performance"]["bytes_per_token"] == 1000


@pytest.mark.parametrize(
    ("percent", "words", "made", "line"),
    [
        (80, [], (4, CONTEXT, "q8"), ""),
        (15, [], (2, CONTEXT, "q8"), "power mode saver: 15 %; so --slots 2 until the next start"),
        (15, ["--slots", "3", "--kv", "f32"], (3, CONTEXT, "f32"), "power mode saver: 15 %"),
        (15, ["--power", "performance"], (4, CONTEXT, "q8"), ""),
        (
            80,
            ["--power", "emergency", "-c", "64"],
            (1, 64, "q8"),
            "power mode emergency: override, 80 %; so --slots 1 until the next start",
        ),
    ],
)
def test_limits_of_the_mode_at_the_start(
    percent: int,
    words: list[str],
    made: tuple[int, int, KvType],
    line: str,
    model: Model,
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What flags say holds in every mode."""
    from rbe_edge.server import serve

    seen: list[tuple[int, int, int]] = []

    def run(app: Any, listener: Any, place: Any, started: Any) -> None:
        sessions = [slot.session for slot in app.state.is_alive.__self__.first.scheduler._slots]
        seen.append((len(sessions), sessions[0].context, sessions[0].info.kv_bytes))

    machine.battery(percent)
    monkeypatch.setattr(serve, "run", run)
    monkeypatch.setattr(serve_command, "measuring_sensors", partial(measuring_sensors, machine.root))
    assert main(["serve", "--port", "0", "-t", "1", *words]) == 0
    slots, context, kv = made
    with model.session(context=context, kv=kv) as expected:
        assert seen == [(slots, context, expected.info.kv_bytes)]
    assert capsys.readouterr().err.splitlines() == [f"rbe: {line}"] * bool(line) + ["rbe: stopped"]


def test_what_cannot_be_held_is_refused(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve_command, "measuring_sensors", partial(measuring_sensors, machine.root))
    assert main(["serve", "--port", "0", "--watts", "5"]) == 2
    assert main(["serve", "--port", "0", "--pace", "-1"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no sensor measures power here" in first and "--pace is a number above 0" in second
