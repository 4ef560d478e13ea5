"""The commands of the program in C beside those in Python: the same text, the same words, the same exit codes.

Skipped where the program was not built.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from command_line import Rbe

from rbe_edge import _native
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import demo_path

WITH_PARTS = Path(__file__).resolve().parent.parent / "golden" / "v3" / "parts.rbe"
Native = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def native(program: Path, tmp_path: Path) -> Native:
    """native(*arguments, input=...) -> the finished process, its output as text."""

    def run(*arguments: object, input: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        settings = {"cwd": tmp_path, "timeout": 120, "check": False} | options
        return subprocess.run(command, input=input, capture_output=True, text=True, encoding="utf-8", **settings)

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The demo, a file with parts and modes, and tiny models with tokenizers of their own."""
    directory = tmp_path_factory.mktemp("models")
    found = [demo_path(), WITH_PARTS]
    for name in ("llama", "gpt2", "gemma3", "lfm2_moe"):
        if name in tiny_models.MODELS:
            out = directory / f"{name}.rbe"
            pack(tiny_models.write(tiny_models.MODELS[name], directory / name), out, PackOptions(bits=4))
            found.append(out)
    yield found


SAMPLED = ["--temp", "1.2", "-s", "11", "--repeat-penalty", "1.2", "--top-k", "0", "--top-p", "0.99", "--min-p", "0.01"]


PENALISED = ["--presence-penalty", "0.5", "--frequency-penalty", "-0.25", "--repeat-last-n", "-1"]
BIASED = [*SAMPLED, *PENALISED, "-l", "97+1.5", "--logit-bias=101-inf", "-l", "98-.5"]


@pytest.mark.parametrize("flags", [["--temp", "0"], SAMPLED, [*SAMPLED, "--kv", "q8", "--stop", "e "], BIASED])
def test_run_writes_what_python_writes(native: Native, rbe: Rbe, models: list[Path], flags: list[str]) -> None:
    for model in models:
        arguments = [
            "run",
            model,
            "--raw",
            "-p",
            "Der Kater saß — and <|im_end|> then",
            "-n",
            "30",
            "-c",
            "64",
            "-t",
            "1",
            *flags,
        ]
        ours, theirs = native(*arguments), rbe(*arguments)
        assert ours.returncode == theirs.returncode == 0, ours.stderr + theirs.stderr
        assert ours.stdout == theirs.stdout and ours.stderr == theirs.stderr
    assert ours.stdout


def test_run_json_is_pythons(native: Native, rbe: Rbe) -> None:
    arguments = ["run", demo_path(), "--raw", "-n", "12", "--json", *SAMPLED]
    ours, theirs = (json.loads(run(*arguments, input="Es war 🐈 einmal\n").stdout) for run in (native, rbe))
    timed = ("prompt_seconds", "generation_seconds", "tokens_per_second")
    assert ours.keys() == theirs.keys()
    assert {key: ours[key] for key in ours if key not in timed} == {
        key: theirs[key] for key in theirs if key not in timed
    }


def test_the_same_seed_as_shown(native: Native) -> None:
    first = native("run", demo_path(), "-p", "Once", "-n", "40", "--temp", "1.5", "-v")
    seed = next(line.split()[-1] for line in first.stderr.splitlines() if line.startswith("rbe: seed "))
    assert native("run", demo_path(), "-p", "Once", "-n", "40", "--temp", "1.5", "-s", seed).stdout == first.stdout
    others = {native("run", demo_path(), "-p", "Once", "-n", "40", "--temp", "1.5").stdout for _ in range(3)}
    assert others - {first.stdout}, "a seed of its own each time"


def test_the_context_fills(native: Native, rbe: Rbe) -> None:
    arguments = [
        "run",
        demo_path(),
        "--raw",
        "-p",
        "Once upon a time",
        "-n",
        "-1",
        "-c",
        "12",
        "--temp",
        "1.5",
        "-s",
        "3",
    ]
    ours, theirs = native(*arguments), rbe(*arguments)
    assert "the context of 12 tokens is full" in ours.stderr
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)


@pytest.mark.parametrize("flags", [[], ["--tensors"], ["--verify"]])
def test_inspect_writes_what_python_writes(native: Native, rbe: Rbe, models: list[Path], flags: list[str]) -> None:
    for model in models:
        ours, theirs = native("inspect", model, *flags), rbe("inspect", model, *flags)
        assert ours.returncode == 0 and ours.stdout == theirs.stdout and not ours.stderr


def test_inspect_lists_parts_and_modes(rbe: Rbe) -> None:
    """In words; the program in C writes the same."""
    said = rbe("inspect", WITH_PARTS).stdout.splitlines()
    for line in (
        "part modes: version 1, 928 bytes",
        "part later.thing_2: version 9, 18 bytes (unknown to this version)",
        "power modes, measured on a text of its own, divergence from source:",
        "  performance    29.3 KiB      31.900    0.1240   0.0010   75.0%  everything",
    ):
        assert line in said
    balanced, saver = (next(line for line in said if line.startswith(f"  {name} ")) for name in ("balanced", "saver"))
    reads = "attention 1 in 1, attention 2 in 1, no feed-forward in 1, feed-forward 4 in 1, embedding 1, lm_head 3"
    assert balanced.endswith(f"62.5%  {reads}") and saver.endswith(f"62.5%  {reads} (none within 1.11)")
    report = json.loads(rbe("inspect", WITH_PARTS, "--json").stdout)
    assert [part["name"] for part in report["parts"] if not part["known"]] == ["later.thing_2", "empty"]
    assert report["modes"]["modes"][1]["feed_forward"] == [255, 0, 4]
    plain = json.loads(rbe("inspect", demo_path(), "--json").stdout)
    assert [part["name"] for part in plain["parts"]] == ["bands"] and plain["modes"] is None


def test_inspect_json_is_pythons(native: Native, rbe: Rbe, models: list[Path]) -> None:
    for model in models:
        ours, theirs = native("inspect", model, "--json", "--tensors"), rbe("inspect", model, "--json", "--tensors")
        assert json.loads(ours.stdout) == json.loads(theirs.stdout)


REFUSED = [
    ["run"],
    ["run", "a.rbe", "-m", "b.rbe", "-p", "x"],
    ["run", "DEMO", "-p", ""],
    ["run", "DEMO", "-p", "x", "-n", "0"],
    ["run", "DEMO", "-p", "x", "-t", "65"],
    ["run", "DEMO", "-p", "x", "-b", "513"],
    ["run", "DEMO", "-p", "x", "-c", "-1"],
    ["run", "DEMO", "-p", "x", "--temp", "-1"],
    ["run", "DEMO", "-p", "x", "--temp", "nan"],
    ["run", "DEMO", "-p", "x", "--top-k", "-1"],
    ["run", "DEMO", "-p", "x", "--top-p", "1.5"],
    ["run", "DEMO", "-p", "x", "--min-p", "1"],
    ["run", "DEMO", "-p", "x", "--repeat-penalty", "0"],
    ["run", "DEMO", "-p", "x", "--repeat-last-n", "0"],
    ["run", "DEMO", "-p", "x", "--repeat-last-n", "65537"],
    ["run", "DEMO", "-p", "x", "--presence-penalty", "nan"],
    ["run", "DEMO", "-p", "x", "--frequency-penalty", "101"],
    *(["run", "DEMO", "-p", "x", "-l", bias] for bias in ("5", "5+", "5+.", "5*2", "x+1", "5+inf", "5-1e3", "5.0+2")),
    ["run", "DEMO", "-p", "x", "-l", "99999999+1"],
    ["run", "DEMO", "-p", "x", "--read-planes", "5"],
    ["run", "DEMO", "-p", "x", "--sinks", "-1"],
    ["run", "DEMO", "-p", "x", "--draft", "33"],
    ["run", "DEMO", "-p", "x", "--stop", ""],
    ["run", "DEMO", "--raw", "-p", "x" * 400, "-c", "16"],
    ["chat", "DEMO", "-n", "0"],
    ["bench", "DEMO", "--workloads", "tg"],
    ["bench", "DEMO", "--workloads", "tg64@99999"],
    ["bench", "DEMO", "-r", "0"],
    ["bench", "DEMO", "-t", "x"],
    ["bench", "DEMO", "-t", "65"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_refused_in_pythons_words(native: Native, rbe_here: Rbe, words: list[str]) -> None:
    arguments = [demo_path() if word == "DEMO" else word for word in words]
    ours, theirs = native(*arguments), rbe_here(*arguments)
    assert ours.returncode == theirs.returncode and ours.returncode in (1, 2)
    assert ours.stderr.count("\n") == 1 and not ours.stdout
    same = theirs.stderr.replace("-p TEXT", "").replace("; see `rbe bench --help`", "")
    assert ours.stderr.replace("-p TEXT", "") == same or ours.stderr.split(";")[0] in theirs.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a command"),
        (["serve"], "there is no command `serve`"),
        (["run", "x.rbe", "--frobnicate"], "unknown option --frobnicate; see `rbe run --help`"),
        (["run", "x.rbe", "-n"], "--predict needs a value"),
        (["run", "x.rbe", "-n", "ten"], "--predict must be a whole number, not `ten`"),
        (["run", "x.rbe", "--temp", "0x1"], "--temp must be a number"),
        (["run", "x.rbe", "-s", "99999999999999999999999"], "--seed must be a whole number below 2^64"),
        (["run", "x.rbe", "--kv", "q7"], "--kv must be one of f16, f32, q8, q8q4, auto, not `q7`"),
        (["run", "x.rbe", "--max-memory", "1.2.3G"], "--max-memory must be a size of memory"),
        (["run", "x.rbe", "--no-verify=1"], "--no-verify takes no value"),
        (["run", "x.rbe", "y.rbe"], "unexpected argument `y.rbe`"),
        (["run", "x.rbe", "-p", "x", "--speculate", "lookup"], "--speculate lookup is of the Python command"),
        (["bench", "x.rbe", "--against", "llama.cpp"], "--against is of the Python command"),
        (["run", "x.rbe", "-p", "x", "--kernels", "sse9"], "kernel set sse9 cannot run here; this machine has: scalar"),
        (["inspect"], "there is no model; give a .rbe file: rbe inspect FILE"),
        (["doctor", "x"], "unexpected argument `x`; see `rbe doctor --help`"),
        (["chat", "x.rbe", "--chat-template-file", "nowhere"], "nowhere: cannot be read; give a chat template"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(native: Native, arguments: list[str], message: str) -> None:
    done = native(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"rbe: {message}") and done.stderr.count("\n") == 1, done.stderr


def test_what_fails_is_one_line_and_exit_code_1(native: Native, tmp_path: Path) -> None:
    (tmp_path / "bad\x1b[2J.rbe").write_bytes(b"no model")
    for name in ("nowhere.rbe", "bad\x1b[2J.rbe", "."):
        done = native("run", name, "-p", "x", "--json")
        assert done.returncode == 1 and done.stderr.startswith("rbe: ") and done.stderr.count("\n") == 1
        assert json.loads(done.stdout)["error"] == done.stderr.removeprefix("rbe: ").rstrip("\n")
        assert "\x1b" not in done.stderr


@pytest.mark.parametrize("command", ["run", "chat", "bench", "inspect", "doctor", "self"])
def test_help_has_an_example(native: Native, command: str) -> None:
    done = native(command, "--help")
    assert done.returncode == 0 and f"usage: rbe {command}" in done.stdout and f"  rbe {command}" in done.stdout
    assert command in native("--help").stdout


def test_version(native: Native, rbe_here: Rbe) -> None:
    assert native("--version").stdout == rbe_here("--version").stdout


def test_every_option_of_python_is_known(native: Native, rbe_here: Rbe) -> None:
    """Taken, or refused with a reason; never unknown."""
    for command in ("run", "chat", "bench", "inspect", "doctor"):
        shown = rbe_here(command, "--help").stdout
        names = {word.strip(",[]|") for word in shown.split() if word.startswith(("--", "[--"))}
        assert len(names) > 1
        for name in names - {"--help"}:
            done = native(command, name, "1", "--nothing")
            assert f"unknown option {name}" not in done.stderr, (command, name)


def test_doctor(native: Native, rbe: Rbe) -> None:
    lines = native("doctor").stdout.splitlines()
    assert [line.split(":")[0].split()[0] for line in lines[:6]] == [
        "rbe", "processor", "features", "kernels", "cores", "memory",
    ]  # fmt: skip
    assert any(line.startswith("threads: ") for line in lines)
    ours, theirs = json.loads(native("doctor", "--json").stdout), json.loads(rbe("doctor", "--json", "--quick").stdout)
    for key in ("version", "processor", "system", "kernel_set", "kernel_sets", "memory_bytes", "threads"):
        assert ours[key] == theirs[key]


def test_doctor_shows_sensors_as_python_does(native: Native, rbe: Rbe) -> None:
    """Values differ from one moment to the next, but not what is known."""
    ours, theirs = (
        json.loads(run("doctor", "--json", *quick).stdout) for run, quick in ((native, []), (rbe, ["--quick"]))
    )
    assert {name: value is None for name, value in ours["sensors"].items()} == {
        name: value is None for name, value in theirs["sensors"].items()
    }
    assert ours["energy"].keys() == theirs["energy"].keys() and ours["energy"]["missing"] == theirs["energy"]["missing"]
    names = [[source["source"] for source in found["energy_sources"]] for found in (ours, theirs)]
    assert names[0] == names[1]
    lines = [run("doctor", *quick).stdout.splitlines() for run, quick in ((native, []), (rbe, ["--quick"]))]
    shown = [
        [re.sub(r"[\d.]+", "#", line) for line in one if line.startswith(("sensors:", "energy:"))] for one in lines
    ]
    assert shown[0] == shown[1] and len(shown[0]) == 2


def test_doctor_shows_threads_as_python_does(
    native: Native, rbe: Rbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = _native.library().rbe_threads_machine()
    lines = [f"{machine:08x} 26 2 2:2510 1:1340", f"{machine:08x} 20 1 1:99901", f"{machine ^ 1:08x} 22 3 3:5"]
    (tmp_path / "rbe_edge").mkdir()
    (tmp_path / "rbe_edge" / "threads.txt").write_text("\n".join(["rbe-threads 1", *lines, ""]))
    ours, theirs = native("doctor", "--json").stdout, rbe("doctor", "--json", "--quick").stdout
    assert json.loads(ours)["threads"] == json.loads(theirs)["threads"]
    assert len(json.loads(ours)["threads"]) == 2
    ours, theirs = native("doctor").stdout, rbe("doctor", "--quick").stdout
    shown = [line for line in ours.splitlines() if line.startswith("threads:")]
    assert shown == [line for line in theirs.splitlines() if line.startswith("threads:")]


def test_bench(native: Native) -> None:
    arguments = ["bench", demo_path(), "-r", "3", "-t", "1,2", "--workloads", "pp16,tg8@4"]
    found = json.loads(native(*arguments, "--json", "--profile").stdout)
    assert [(row["workload"], row["threads"]) for row in found["results"]] == [
        ("pp16", 1), ("tg8@4", 1), ("pp16", 2), ("tg8@4", 2),
    ]  # fmt: skip
    for row in found["results"]:
        assert len(row["runs"]) == row["repetitions"] == 3
        assert min(row["runs"]) <= row["tokens_per_s_median"] <= max(row["runs"])
        assert sorted(row["runs"])[1] == pytest.approx(row["tokens_per_s_median"])
        assert row["tokens_per_s"] == pytest.approx(sum(row["runs"]) / 3)
    generated = found["results"][1]
    assert generated["p50_ms"] <= generated["p95_ms"] <= generated["p99_ms"] and generated["depth"] == 4
    assert found["results"][0]["p50_ms"] is None and found["results"][0]["first_token_ms"] > 0
    assert {"operation", "calls", "ms"} == found["profile"][0].keys()
    rows = native(*arguments, "--csv").stdout.splitlines()
    assert len(rows) == 5 and all(row.count(",") == rows[0].count(",") for row in rows)
    lines = [json.loads(line) for line in native(*arguments, "--jsonl").stdout.splitlines()]
    assert ",".join(lines[0]) == rows[0] and len(lines) == 4
    assert "| demo.rbe" in native(*arguments).stdout


def test_output_that_cannot_be_written(program: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        command = [program, "run", demo_path(), "-p", "Once", "-n", "5"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("rbe: the output cannot be written: ")
