"""`rbe bench --power`: joules against a known power, what is not known, every form of output. No speed is asserted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_machine import RaplCounter, write
from tiny_shape import TINY

from rbe_edge.bench import power_findings, power_plots, power_report, shapes
from rbe_edge.bench.decoders import PeerDecoder
from rbe_edge.bench.joules import Joules, Mark, between
from rbe_edge.bench.mode_run import ModeRun, Quality, Setup, Stretch
from rbe_edge.bench.power import Peer, Plan, PowerReport, measure_modes
from rbe_edge.bench.promise import Promise, measure_promise
from rbe_edge.bench.sensor_log import Moment, sum_up
from rbe_edge.cli import output
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.format import modes
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.hardware import Machine
from rbe_edge.machine.power import Energy, Mode, Power
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.model import Model

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")

MEASURED = {"n_tokens": 1000, "kl_error": 0.01, "top1": 0.9}
TABLE = modes.ModeTable(
    2,
    (
        modes.Mode(perplexity=20.0, **MEASURED),
        modes.Mode(attention=(1, 0), perplexity=20.5, kl=0.04, **MEASURED),
        modes.Mode(attention=(1, 1), feed_forward=(1, 0), perplexity=21.0, kl=0.08, **MEASURED),
        modes.Mode(attention=(1, 1), feed_forward=(1, 1), lm_head=1, perplexity=24.0, kl=0.2, **MEASURED),
    ),
    "a text",
)
MACHINE = Machine("a processor", 2, "Linux x86_64", 10.0)
SHORT = ("--seconds", "0.2", "--idle", "0.1", "-t", "2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a table of modes."""
    path = tmp_path_factory.mktemp("shape") / "plain.rbe"
    shapes.write_model(TINY, (2, 2), path)
    return path


@pytest.fixture(scope="module")
def nested(plain: Path) -> Path:
    path = plain.with_name("nested.rbe")
    path.write_bytes(plain.read_bytes())
    replace_parts(path, [TABLE.part()])
    return path


def silent(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def report_of(model: Model) -> PowerReport:
    return PowerReport(MACHINE, "model", model.info.kernel_set, 1)


class ReadNow(Power):
    """Sensors whose counter is of the very moment in which it is read, however late its thread may come."""

    counter: RaplCounter

    def energy(self) -> Energy:
        self.counter.advance()
        return super().energy()


def test_joules_are_those_of_a_known_power(nested: Path, tmp_path: Path) -> None:
    """40 W at work and 10 W when idle. The counter wraps while tokens are generated."""
    with (
        RaplCounter(tmp_path, 10, 1000, 900) as counter,
        ReadNow(str(tmp_path)) as power,
        Model.open(nested) as model,
    ):
        power.counter = counter
        power.start()
        report = report_of(model)

        def listen(what: str, done: int, total: int) -> None:
            counter.set_watts(10 if what == "idle" else 40)

        measure_modes(model, report, Plan([Mode.BALANCED], 3.0, 1.0, 1), power, listen)
    (run,) = report.runs
    assert 1000 < counter.joules < 2000 and run.moments[-1].joules is not None and report.idle is not None
    assert report.idle.watts == pytest.approx(10, rel=0.01)
    for stretch in (run.decode, run.prefill):
        truth = 40 * stretch.joules.seconds / stretch.n_tokens
        assert stretch.joules.per(stretch.n_tokens) == pytest.approx(truth, rel=0.01)
        assert stretch.joules.net_per(stretch.n_tokens, report.idle) == pytest.approx(truth * 30 / 40, rel=0.01)
    assert run.decode.joules.seconds >= 3 and len(run.token_s) == run.decode.n_tokens
    assert (run.decode.joules.source, run.decode.joules.covers) == ("RAPL package-0", "package")
    assert run.decode.joules.resolution_j < 1e-4 and "memory" in run.decode.joules.missing
    assert run.setup.quality is not None and run.setup.quality.kl == 0.04 and run.setup.kv == "q8"


def energy(joules: float | None, seconds: float, step: float = 0.0, index: int = 0) -> Energy:
    return Energy(joules, seconds, step, joules is not None, index, f"source {index}", "board", "what is missing")


@pytest.mark.parametrize(
    ("begin", "end", "joules", "why"),
    [
        (energy(5, 0), energy(65, 9.8), pytest.approx(60 / 0.98), ""),  # watts, read ten times a second
        (energy(5, 0, 0.5), energy(65, 10, 0.5), 60, ""),
        (energy(None, 0), energy(None, 0), None, "what is missing"),
        (energy(5, 0), energy(65, 4), None, "source 0 measured 40 % of the time"),
        (energy(5, 0), energy(65, 10, index=1), None, "the source changed from source 0 to source 1"),
        (energy(5, 0), energy(5, 10), None, "source 0 did not move in 10.0 s"),
        (energy(0, 0, 36), energy(72, 10, 36), None, "steps of 36 J, too coarse for 72 J; 200 s would do"),
    ],
)
def test_what_is_not_known_says_why(begin: Energy, end: Energy, joules: object, why: str) -> None:
    found = between(Mark(100.0, begin), Mark(110.0, end))
    assert found.seconds == 10 and found.joules == joules and why in found.why
    assert (found.per(100) is None) == (joules is None) and found.net_per(100, None) is None
    assert found.net_per(100, Joules(30, 30.0, "another source")) is None


def run_of(name: str, rate: float, kl: float, joules: float | None = None, program: str = "rbe") -> ModeRun:
    """Of 120 s at that rate, and half of it in the last minute."""
    at = [index / rate for index in range(1, int(60 * rate) + 1)]
    at += [60 + index / (rate / 2) for index in range(1, int(30 * rate) + 1)]
    quality = Quality(20.0 + kl, kl, 0.01, 0.9, "itself", "a text")
    spent = Joules(120.0, joules, "RAPL psys", "whole machine", "nothing", 1e-5, 1.0, "" if joules else "no sensor")
    return ModeRun(
        Setup(program, name, 2, "f16", 128, 128, 1_000_000, quality),
        Stretch(300, spent), Stretch(len(at), spent), [0.2, 0.1, 0.9], [1 / rate] * 100, at,
        [Moment(0, 40.0, 800, 3000, 3500, False), Moment(60, 71.0, 900, 3100, 3200, True, "zone"), Moment(120, 70.0)],
    )  # fmt: skip


def test_rates_over_time() -> None:
    run = run_of("saver", 10, 0.1)
    assert (run.window_s, run.rate) == (60, pytest.approx(7.5)) and run.first_token_ms == 200
    assert run.first_rate == pytest.approx(10) and run.last_rate == pytest.approx(5)
    assert [round(rate) for _, rate in run.rates(4)] == [10, 10, 5, 5] and run.rates(4)[0][0] == 15
    sensed = sum_up(run.moments)
    assert dataclasses.astuple(sensed) == (40, 70, 71, 800, 3100, 3200, True, "zone")
    assert sum_up([Moment(0)]).throttled is None and sum_up([Moment(0, throttled=False)]).throttled is False


@pytest.mark.parametrize(
    ("joules", "said"),
    [
        ((None, None), "whether it saves energy was not measured here"),
        ((900.0, 300.0), "all it saves is energy"),
        ((300.0, 900.0), "and it saves no energy"),
    ],
)
def test_a_mode_that_is_worse_in_time_and_quality_is_named(
    joules: tuple[float | None, float | None], said: str
) -> None:
    runs = [run_of("performance", 10, 0.0, joules[0]), run_of("saver", 9, 0.1, joules[1])]
    report = PowerReport(MACHINE, "model", "avx2", 1, None, [*runs, run_of("emergency", 11, 0.3)])
    (line,) = power_findings.worse_modes(report)
    assert line.startswith("saver costs more time and more quality than performance") and said in line
    assert f"* {line}" in power_report.as_markdown(report)
    assert json.loads(power_report.as_json(report))["worse"] == [line]
    assert power_findings.relative_rate(runs[1], report) == pytest.approx(0.9)


Output = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Output:
    """rbe bench on a machine with a thermal zone, clocks, and a RAPL counter that stands still."""
    root = tmp_path / "machine"
    write(root, "thermal/thermal_zone0", {"type": "x86_pkg_temp", "temp": "51500"})
    frequency = root / "sys/devices/system/cpu/cpufreq/policy0"
    frequency.mkdir(parents=True)
    for name, value in (("scaling_cur_freq", "1200000"), ("scaling_max_freq", "3000000")):
        (frequency / name).write_text(f"{value}\n")
    write(root, "powercap/intel-rapl:0", {"name": "package-0", "energy_uj": "7", "max_energy_range_uj": "262143328850"})

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["bench", *arguments, "--sensor-root", str(root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_all_forms_tell_the_same(bench: Output, nested: Path) -> None:
    code, out, _ = bench(str(nested), "--power", "all", *SHORT, "--json")
    whole = json.loads(out)
    runs = whole["runs"]
    assert code == 0 and [run["mode"] for run in runs] == list(modes.MODE_NAMES) and not whole["stopped"]
    assert [run["kl"] for run in runs] == [0, 0.04, 0.08, 0.2] and [run["threads"] for run in runs] == [2, 1, 1, 1]
    assert {run["kv"] for run in runs} == {"q8"}
    n_bytes = [run["bytes_per_token"] for run in runs]
    assert n_bytes == sorted(n_bytes, reverse=True) and len(set(n_bytes)) == 4
    for run in runs:
        assert len(run["token_ms"]) == run["tokens"] == len(run["token_at_s"]) >= 8 and len(run["prompt_s"]) >= 3
        assert run["token_at_s"] == sorted(run["token_at_s"])
        assert run["begin_c"] == run["most_c"] == 51.5 and run["mhz_most"] == 1200 and run["mhz_limit"] == 3000
        assert run["decode_j_per_token"] is None and "did not move" in run["decode_energy_why"]
        assert run["p50_ms"] <= run["p95_ms"] <= run["p99_ms"] and run["session_bytes"] > run["kv_bytes"] > 0
    assert list(whole["promises"]) == ["balanced", "saver", "emergency"]
    for name, promise in whole["promises"].items():
        assert promise["promised"] == pytest.approx(n_bytes[0] / n_bytes[modes.MODE_NAMES.index(name)])
        assert promise["kept"] == pytest.approx(promise["given"] / promise["promised"]) and promise["rounds"] >= 3
    code, out, _ = bench(str(nested), "--power", "saver,performance", *SHORT, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["mode"] for row in rows] == ["saver", "performance"]
    assert rows[0]["decode_j_per_token"] == "" and float(rows[0]["kl"]) == 0.08 and float(rows[1]["relative_rate"]) == 1
    code, out, _ = bench(str(nested), "--power", "emergency", *SHORT, "--markdown")
    assert code == 0 and "| emergency | 0.2000 ± 0.0100 | 24.00 " in out and "| 51.5 " in out
    assert "**emergency over time**" in out and "* energy n/a" in out and "did not move" in out


def test_a_file_without_a_table_says_so(bench: Output, plain: Path) -> None:
    _, out, _ = bench(str(plain), "--power", "performance,saver", *SHORT)
    assert out.count("not measured: rbe eval --power all") == 2 and "costs more time" not in out
    assert "**saver over time**" not in out


def test_ctrl_c_gives_the_table_so_far(bench: Output, nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: output.ProgressBar, what: str, done: int, total: int) -> None:
        if what == "saver" and done > 10 * total / 16:
            raise KeyboardInterrupt

    monkeypatch.setattr(output.ProgressBar, "show", interrupt)
    code, out, _ = bench(str(nested), "--power", "all", *SHORT)
    assert (
        code == 130
        and "| balanced " in out
        and "| emergency " not in out
        and "stopped before its time in saver: " in out
    )


def test_a_listener_stops_it(nested: Path, tmp_path: Path) -> None:
    with Power(str(tmp_path)) as power, Model.open(nested) as model:
        report = report_of(model)
        measure_modes(model, report, Plan([Mode.SAVER], 0.2), power, lambda what, done, total: done > 0)
        assert report.stopped and report.idle is None and not report.promises
        assert all(not run.complete for run in report.runs)


def test_pictures(bench: Output, nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    code, _, err = bench(str(nested), "--power", "performance,saver", *SHORT, "--plots", str(tmp_path / "picture"))
    assert code == 0 and err.count("wrote ") == 2
    for name in ("picture-quality.png", "picture-rate.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    some = PowerReport(MACHINE, "model", "avx2", 1, None, [run_of("performance", 10, 0, 50), run_of("saver", 9, 0.1)])
    assert power_plots.quality_points(some)[0] == "milliseconds per token (energy n/a)"
    some.runs[1] = run_of("saver", 9, 0.1, 30)
    label, points = power_plots.quality_points(some)
    assert label == "joules per token" and points[1] == ("saver", 0.1, pytest.approx(30 / some.runs[1].decode.n_tokens))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    code, out, err = bench(str(nested), "--power", "saver", "--plots", str(tmp_path / "other"))
    assert code == 1 and not out and "rbe-edge[plot]" in err


class StandIn:
    """Takes a token 10 ms, as Llama answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def run(self, kind: str, n_tokens: int, depth: int) -> tuple[float, Sequence[float]]:
        self.asked.append((kind, n_tokens, depth))
        return 0.01 * n_tokens, [0.01] * n_tokens if kind == "tg" else []


def test_llama_cpp_is_given_the_same_shape() -> None:
    llama = StandIn()
    peer = PeerDecoder(llama, 128, 10)  # type: ignore[arg-type]
    assert peer.prompt() == pytest.approx(1.28)
    assert [len(peer.tokens(count)) for count in (1, 12, 4)] == [1, 12, 4]
    expected = [("tg", 1, 128), ("tg", 9, 129), ("tg", 3, 128), ("tg", 4, 131)]
    assert llama.asked == [("pp", 128, 0), *expected]


def test_llama_cpp_is_left_out_where_it_is_not(bench: Output, nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    code, out, err = bench(str(nested), "--power", "saver", *SHORT, "--against", "llama.cpp")
    assert code == 0 and "| saver " in out and len(err.splitlines()) == 1
    assert "llama.cpp is left out: " in err and "rbe-edge[compare]" in err


def test_llama_cpp_that_fails_costs_nothing_else(nested: Path, tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_text("no model")
    with Power(str(tmp_path)) as power, Model.open(nested) as model:
        report = report_of(model)
        measure_modes(model, report, Plan([Mode.SAVER], 0.1), power, silent, [Peer("Q4_0", tmp_path / "no.gguf")])
    assert [run.setup.name for run in report.runs] == ["saver"] and not report.stopped and report.promises
    assert any(note.startswith("llama.cpp Q4_0 failed: llama.cpp ") for note in report.notes)


def test_llama_cpp_beside_it(bench: Output, nested: Path) -> None:
    pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    arguments = ("--power", "performance", *SHORT, "--against", "llama.cpp", "--types", "Q4_0", "--json")
    _, out, _ = bench(str(nested), *arguments)
    own, peer = json.loads(out)["runs"]
    assert (peer["program"], peer["mode"], peer["threads"]) == ("llama.cpp", "Q4_0", own["threads"])
    assert peer["tokens"] >= 8 and peer["begin_c"] == 51.5 and peer["relative_rate"] > 0


def test_a_promise_needs_fewer_bytes(nested: Path) -> None:
    with Model.open(nested) as model:
        assert measure_promise(model, Effort(), 1, 0.1) is None
        effort = Effort((1, 1), (1, 1))
        found = measure_promise(model, effort, 1, 0.1)
        assert found is not None and found.promised == model.read_bytes() / model.read_bytes(effort) > 1
    assert Promise(2.0, 1.5, 3).kept == 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--power", "turbo"], "--power turbo is not possible; give all"),
        (["--power", "saver,saver"], "each mode of --power once"),
        (["--power", "all", "--seconds", "0"], "for some seconds"),
        (["--power", "all", "--seconds", "nan"], "for some seconds"),
        (["--power", "all", "--seconds", "9", "--minutes", "1"], "not both"),
        (["--power", "all", "--idle", "-1"], "--idle is from 0"),
        (["--power", "all", "--threads", "1,2"], "one number"),
        (["--power", "all", "--workloads", "pp8"], "--workloads is not for power modes"),
        (["--power", "all", "--kv", "f16"], "--kv is not for power modes"),
        (["--power", "all", "-b", "8"], "--batch-size is not for power modes"),
        (["--power", "all", "--jsonl"], "--json, --csv or --markdown"),
        (["--power", "all", "--policy", "x"], "--policy is for --battery-trace"),
        (["--power", "all", "--sensor-root", "x" * 300], "root"),
        (["--seconds", "9"], "--seconds is for --power all"),
        (["--battery-trace", "x", "--power", "saver"], "the policy decides"),
        (["--battery-trace", "missing.txt"], "missing.txt cannot be read"),
    ],
)
def test_errors_say_what_to_do(
    plain: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(plain), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_a_context_that_is_too_short_is_refused(plain: Path, tmp_path: Path) -> None:
    with Power(str(tmp_path)) as power, Model.open(plain) as model:
        plan = Plan([Mode.SAVER], 0.1, prompt_tokens=30000, answer_tokens=10000)
        with pytest.raises(OptionError, match="no room for 30000"):
            measure_modes(model, report_of(model), plan, power, silent)
