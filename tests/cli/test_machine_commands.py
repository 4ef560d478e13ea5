"""`rbe list`, `rbe doctor` and `rbe completion`: what they find, and that shells complete with the scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import Rbe, one_line
from packaging.requirements import Requirement

from rbe_edge import _native
from rbe_edge.cli import completion_command, doctor_command, list_command
from rbe_edge.cli.main import _parser
from rbe_edge.machine.power import Energy, Sample
from rbe_edge.runtime import fit
from rbe_edge.runtime.model import Model
from rbe_edge.store import places

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory; the current directory is another."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_list_finds_models_and_says_what_is_wrong(
    rbe_here: Rbe, data_home: Path, tmp_path: Path, tiny_model: Path
) -> None:
    models = data_home / "rbe_edge" / "models"
    models.mkdir(parents=True)
    shutil.copy(tiny_model, models / "one.rbe")
    shutil.copy(tiny_model, tmp_path / "two.rbe")
    (models / "again.rbe").symlink_to(tmp_path / "two.rbe")
    (models / "bad\x1b[31m.rbe").write_bytes(b"no model at all" * 10)
    (models / "notes.txt").write_text("not listed")
    done = rbe_here("list", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["model_directory"] == str(models)
    found = {Path(model["path"]).name: model for model in report["models"]}
    assert set(found) == {"one.rbe", "again.rbe", "bad\x1b[31m.rbe", "demo.rbe"}  # two.rbe is again.rbe
    with Model.open(tiny_model) as model:
        info = model.info
    one = found["one.rbe"]
    assert (one["bytes"], one["parameters"], one["context"]) == (info.file_bytes, info.parameters, info.context)
    assert one["bits_per_weight"] == pytest.approx(info.bits_per_weight, abs=1e-3) and one["error"] is None
    assert "not a .rbe file" in found["bad\x1b[31m.rbe"]["error"]
    text = rbe_here("list").stdout
    assert "\x1b" not in text and "cannot be opened" in text and "one.rbe" in text and len(text.splitlines()) == 5


def test_list_of_directories(rbe_here: Rbe, data_home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = rbe_here("list", "empty")
    assert done.returncode == 0 and not done.stdout and "rbe pack" in done.stderr
    assert "No such file" in one_line(rbe_here("list", "nowhere"), 1)


def test_doctor_knows_this_machine(rbe_here: Rbe, data_home: Path) -> None:
    done = rbe_here("doctor", "--json", "--quick")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["kernel_sets"]["scalar"] is True and report["kernel_sets"][report["kernel_set"]] is True
    assert report["cores"] >= 1 and report["read_gb_per_s"] is None and report["models"] >= 1
    if Path("/proc/meminfo").exists():
        assert report["memory_bytes"] >= report["memory_available_bytes"] > 0
    assert report["model_directory"] == str(data_home / "rbe_edge" / "models")
    text = rbe_here("doctor", "--quick").stdout
    assert "processor:" in text and "kernels:" in text and "GB/s" not in text


def test_doctor_shows_sensors_and_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    joules = Energy(0.0, 1.0, 6.1e-05, True, 1, "RAPL psys", "whole machine", "the screen")
    hidden = Energy(None, 0.0, 0.0, False, 0, "RAPL package-0", "package", "needs root: /sys/x")
    sample = Sample(1, 0.184, None, None, 9.87, 71.2, 1200.0, 3100.0, 4500.0, True, False, True, "coretemp", "counters")
    monkeypatch.setattr(doctor_command, "_sensors", lambda: (sample, joules, [hidden, joules]))
    text = "\n".join(doctor_command._lines(doctor_command.diagnose(quick=True)))
    assert (
        "sensors:   battery 18 %, not on mains, 9.9 W out of it; processor 71 C (coretemp), throttled (counters); "
        in text
    )
    assert "clocks 1200 to 3100 of 4500 MHz" in text and "no temperature sensor" not in text
    assert "energy:    RAPL psys (whole machine, in steps of 6.1e-05 J); not in it: the screen" in text
    assert "           RAPL package-0 (package): needs root: /sys/x" in text
    monkeypatch.setattr(doctor_command, "_sensors", lambda: (Sample(), hidden, []))
    found = doctor_command.diagnose(quick=True)
    text = "\n".join(doctor_command._lines(found))
    assert "battery unknown; temperature unknown, throttling unknown; clocks unknown" in text
    assert "energy:    none: needs root: /sys/x" in text and any(
        "no temperature sensor" in line for line in found.advice
    )


def test_doctor_measures_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from rbe_edge.machine import hardware

    monkeypatch.setattr(hardware, "read_bandwidth", lambda threads: 12.5)
    found = doctor_command.diagnose()
    assert found.read_gb_per_s == 12.5
    assert any("12.5 GB/s" in line for line in doctor_command._lines(found))


def test_doctor_says_what_to_do(monkeypatch: pytest.MonkeyPatch, data_home: Path) -> None:
    monkeypatch.setattr(doctor_command, "_is_there", lambda module: module not in ("textual", "gguf"))
    short = fit.Available(1 << 30, 100 << 20, 0, None, "control group")
    monkeypatch.setattr(fit, "available", lambda: short)
    monkeypatch.setattr(list_command, "find_models", lambda: [])
    advice = doctor_command.diagnose(quick=True).advice
    assert any(line.startswith("100.0 MiB of memory are free") for line in advice)
    assert "this install is not whole: pip install textual" in advice
    assert any("rbe-edge[gguf]" in line for line in advice) and any("no models" in line for line in advice)
    assert not any("rbe-edge[hub]" in line for line in advice)


def test_doctor_shows_which_threads_were_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    kept = tmp_path / "threads.txt"
    monkeypatch.setattr(places, "threads_file", lambda: kept)
    text = "\n".join(doctor_command._lines(doctor_command.diagnose(quick=True)))
    assert "threads:   not tried yet" in text
    machine = _native.library().rbe_threads_machine()
    kept.write_text(f"rbe-threads 1\n{machine:08x} 26 3 4:2050 3:2100 2:1525\n{machine ^ 1:08x} 27 1\n")
    text = "\n".join(doctor_command._lines(doctor_command.diagnose(quick=True)))
    assert "threads:   3 for models of 64.0 MiB to 128.0 MiB" in text and "2: 15.2, 3: 21.0, 4: 20.5" in text
    assert text.count("\nthreads:") == 1


def _counts(needed: Requirement) -> bool:
    """Here, with this Python."""
    return needed.marker is None or needed.marker.evaluate()


def test_doctor_knows_every_extra() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = {
        name: {one.name.replace("-", "_") for one in map(Requirement, re.findall(r'"([^"]+)"', needs)) if _counts(one)}
        for name, needs in re.findall(r"^(\w+) = \[(.*?)\]$", section, re.MULTILINE)
    }
    modules = {"llama_cpp_python": "llama_cpp", "scikit_learn": "sklearn"}
    for name in extras.keys() - {"test", "parity", "fuzz"}:
        assert set(doctor_command.EXTRAS[name][1]) == {modules.get(needed, needed) for needed in extras[name]}, name


def _complete(script: str, line: str, cwd: Path) -> set[str]:
    """What bash offers behind the line."""
    words = line.split(" ")
    program = f"""
{script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_rbe
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p rbe
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", program], cwd=cwd, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert not done.stderr, done.stderr
    *offered, registered = done.stdout.splitlines()
    assert registered == "complete -o default -F _rbe rbe"
    return set(filter(None, offered))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(rbe_here: Rbe, tmp_path: Path) -> None:
    script = rbe_here("completion", "bash").stdout
    assert _complete(script, "rbe in", tmp_path) == {"index", "inspect"}
    assert {"pack", "chat", "list", "doctor", "--version"} <= _complete(script, "rbe ", tmp_path)
    assert _complete(script, "rbe inspect --t", tmp_path) == {"--tensors"}
    assert _complete(script, "rbe chat --kv ", tmp_path) == {"auto", "f16", "f32", "q8", "q8q4"}
    assert _complete(script, "rbe chat --kv q", tmp_path) == {"q8", "q8q4"}
    assert _complete(script, "rbe completion ", tmp_path) == {"bash", "zsh", "fish"}
    assert _complete(script, "rbe inspect ", tmp_path) == set()  # files, by bash itself
    assert _complete(script, "rbe nonsense -", tmp_path) == set()


@pytest.mark.parametrize("shell", completion_command.SHELLS)
def test_scripts_are_correct_for_their_shell(rbe_here: Rbe, tmp_path: Path, shell: str) -> None:
    script = rbe_here("completion", shell).stdout
    for name in ("pack", "chat", "doctor"):
        assert name in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(rbe_here: Rbe, tmp_path: Path) -> None:
    (tmp_path / "rbe.fish").write_text(rbe_here("completion", "fish").stdout)

    def offered(line: str) -> set[str]:
        command = ["fish", "--no-config", "-c", f"source rbe.fish; complete -C '{line}'"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)}
        )
        return {found.split("\t")[0] for found in done.stdout.splitlines()}

    assert offered("rbe insp") == {"inspect"}
    assert offered("rbe chat --kv ") == {"auto", "f16", "f32", "q8", "q8q4"}
    assert offered("rbe inspect --te") == {"--tensors"}
    assert offered("rbe completion ") == {"bash", "zsh", "fish"}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_offers_the_right_words(rbe_here: Rbe, tmp_path: Path) -> None:
    """Outside its line editor, with `compadd` and `_files` that say what they were given."""
    (tmp_path / "_rbe").write_text(rbe_here("completion", "zsh").stdout)

    def offered(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        program = f"""
compdef() {{ :; }}; compadd() {{ shift; print -l -- "$@"; }}; _files() {{ print FILES; }}
source ./_rbe
words=({quoted}); CURRENT=$#words; PREFIX=$words[-1]; _rbe
"""
        done = subprocess.run(["zsh", "-f", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert not done.stderr, done.stderr
        return set(done.stdout.split())

    assert {"inspect", "pack", "--version"} <= offered("rbe", "insp")
    assert offered("rbe", "chat", "--kv", "") == {"auto", "f16", "f32", "q8", "q8q4"}
    assert "--tensors" in offered("rbe", "inspect", "--te")
    assert offered("rbe", "completion", "") == {"bash", "zsh", "fish"}
    assert offered("rbe", "inspect", "") == {"FILES"}


def test_every_option_is_known_to_the_scripts() -> None:
    commands = next(action for action in _parser()._actions if hasattr(action, "choices") and action.choices)
    script = completion_command.script("bash", commands.choices)  # type: ignore[arg-type]
    for parser in commands.choices.values():  # type: ignore[union-attr]
        for option in completion_command.options(parser):
            assert all(name in script for name in option.names)


def test_another_shell_is_refused(rbe_here: Rbe) -> None:
    assert "invalid choice" in one_line(rbe_here("completion", "tcsh"), 2)
