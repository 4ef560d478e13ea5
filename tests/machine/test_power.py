"""Sensors, energy and policy through Python: the trees of tests/golden/power, as the tests in C unpack them."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from rooms import REPOSITORY

from rbe_edge.errors import OptionError, RbeError
from rbe_edge.machine import sensors
from rbe_edge.machine.power import Decider, Feed, Mode, Policy, Power, Sample

TREES = REPOSITORY / "tests" / "golden" / "power"
RAPL = "sys/class/powercap/intel-rapl:0"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")


def unpack(name: str, root: Path) -> Power:
    """The machine of tests/golden/power/NAME.txt (native/tests/trees.h says how it is written)."""
    program = None
    for line in (TREES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        path, _, content = line.partition(": ")
        place = root / path
        if path.endswith("/"):
            place.mkdir(parents=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content.replace("\\n", "\n"), encoding="utf-8")
        if path.startswith("vcgencmd/") and program is None:
            program = root / "answer"
            program.write_text('#!/bin/sh\nexec /bin/cat "${0%/*}/vcgencmd/$1"\n', encoding="ascii")
            program.chmod(stat.S_IRWXU)
    return Power(str(root), firmware_program=None if program is None else str(program))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            "laptop_energy",
            {
                "battery": True,
                "charging": False,
                "battery_level": 65.44 / 69.24,
                "power_w": 9.87,
                "temperature_c": 53.0,
                "temperature_sensor": "coretemp Package id 0",
                "throttled": False,
                "mhz_limit": 4500.0,
                "current_a": None,
            },
        ),
        ("laptop_charge", {"battery_level": 0.74, "current_a": 1.56, "throttled": None, "temperature_sensor": None}),
        ("pi4", {"battery": False, "throttled": True, "throttled_by": "firmware: under-voltage, throttled"}),
        ("pi5", {"battery": False, "throttled": False, "throttled_by": None, "temperature_c": 56.55}),
        ("orange_pi_ina3221", {"throttled": True, "mhz_least": 408.0, "temperature_sensor": "bigcore0-thermal"}),
        ("phone", {"charging": True, "battery_level": 0.61, "power_w": -0.912 * 4.112, "temperature_c": 44.3}),
    ],
)
def test_trees(tree: str, expected: dict[str, object], tmp_path: Path) -> None:
    with unpack(tree, tmp_path) as power:
        sample = dataclasses.asdict(power.sample())
    for name, value in expected.items():
        assert sample[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_sources_of_a_laptop(tmp_path: Path) -> None:
    with unpack("laptop_energy", tmp_path) as power:
        energy = power.energy()
        assert (energy.source, energy.covers, energy.readable, energy.joules) == ("RAPL psys", "whole machine", True, 0)
        assert [source.covers for source in power.sources()] == ["package", "whole machine", "whole machine"]


def test_no_source_says_why(tmp_path: Path) -> None:
    with Power(str(tmp_path)) as power:
        energy = power.energy()
        assert energy.joules is None and not energy.source and "nothing here measures energy" in energy.missing
        assert power.sources() == []


def test_energy_of_a_known_power(tmp_path: Path) -> None:
    """A counter that a thread moves by 20 W, and that wraps, is read within 1 %."""
    wrap, watts = 262143328850, 20.0
    zone = tmp_path / RAPL
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n", encoding="ascii")
    (zone / "max_energy_range_uj").write_text(f"{wrap}\n", encoding="ascii")
    counter, beside, ending, truth = zone / "energy_uj", tmp_path / "beside", threading.Event(), [0.0]

    def write(joules: float) -> None:
        beside.write_text(f"{(wrap - 2_000_000 + int(joules * 1e6)) % wrap}\n", encoding="ascii")
        beside.replace(counter)  # at once, as a counter of the kernel changes

    def advance() -> None:
        began = time.monotonic()
        while not ending.is_set():
            truth[0] = watts * (time.monotonic() - began)
            write(truth[0])
            time.sleep(0.002)

    write(0)
    with Power(str(tmp_path)) as power:
        power.start(20)
        thread = threading.Thread(target=advance)
        thread.start()
        patience = time.monotonic() + 120
        while (power.energy().joules or 0) < 6 and time.monotonic() < patience:
            time.sleep(0.01)
        ending.set()
        thread.join()
        energy = power.energy()
    assert truth[0] > 6 and energy.joules == pytest.approx(truth[0], rel=0.01) and energy.source == "RAPL package-0"


def test_feeding(tmp_path: Path) -> None:
    with Power(str(tmp_path)) as power:
        assert power.sample().battery is None
        power.feed(Feed.BATTERY_LEVEL, 0.42)
        power.feed(Feed.THERMAL_STATUS, 3)
        power.feed(Feed.ENERGY_J, 1000)
        power.feed(Feed.ENERGY_J, 1012.5)
        sample = power.sample()
        assert (sample.battery, sample.battery_level, sample.throttled) == (True, 0.42, True)
        assert power.energy().joules == pytest.approx(12.5) and power.energy().source == "Android power monitors"
        with pytest.raises(OptionError, match="battery level is 42; it must be 0 to 1"):
            power.feed(Feed.BATTERY_LEVEL, 42)


def test_closed_and_started_twice(tmp_path: Path) -> None:
    power = Power(str(tmp_path))
    power.start()
    with pytest.raises(OptionError, match="runs already"):
        power.start()
    power.close()
    power.close()
    with pytest.raises(RbeError, match="closed"):
        power.sample()
    with pytest.raises(OptionError, match="too long"):
        Power("x" * 300)


def test_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.txt"
    path.write_text("performance_above = 60 # %\nmode = saver\n", encoding="ascii")
    assert Policy.read(path) == dataclasses.replace(Policy(), performance_above=60, override=Mode.SAVER)
    path.write_text("mode = auto\n", encoding="ascii")
    assert Policy.read(path) == Policy()  # the defaults of Python and C are the same
    path.write_text("\nhot = 500\n", encoding="ascii")
    with pytest.raises(OptionError, match="line 2: hot is 500; it must be 30 to 120") as raised:
        Policy.read(path)
    assert str(path) in str(raised.value)


def test_decisions() -> None:
    decider = Decider()
    sample = Sample(time_ns=10**9, battery=True, battery_level=0.18, charging=False, temperature_c=71.2)
    first = decider.decide(sample)
    assert (first.mode, first.mode.label, first.switched, first.reason) == (Mode.SAVER, "saver", False, "18 %, 71 C")
    second = decider.decide(dataclasses.replace(sample, time_ns=61 * 10**9, battery_level=0.6))
    assert (second.mode, second.previous, second.switched) == (Mode.PERFORMANCE, Mode.SAVER, True)
    decider.policy = Policy(override=Mode.EMERGENCY)
    assert decider.decide(sample).mode is Mode.EMERGENCY
    assert Decider().decide(Sample(time_ns=1)).mode is Mode.PERFORMANCE
    with pytest.raises(OptionError, match="hot must be more than cool"):
        Decider(Policy(hot=70, cool=70)).decide(sample)


def test_readings_come_from_the_same_sensors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with unpack("phone", tmp_path) as power:
        monkeypatch.setattr(sensors, "of_this_machine", lambda: power)
        readings = sensors.read()
    assert readings.battery == pytest.approx(61) and readings.plugged is True
    assert readings.temperature == pytest.approx(44.3) and readings.memory > 0 and readings.free > 0
