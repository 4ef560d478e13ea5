"""`rbe run`, `rbe inspect` and what all commands share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Rbe

import rbe_edge

FREE = ("--temp", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0)


def test_version(rbe: Rbe) -> None:
    done = rbe("--version")
    assert (done.returncode, done.stdout) == (0, f"rbe {rbe_edge.__version__}\n")


@pytest.mark.parametrize("command", [[], ["pack"], ["inspect"], ["run"], ["chat"], ["eval"]])
def test_help_shows_an_example(rbe: Rbe, command: list[str]) -> None:
    done = rbe(*command, "--help")
    assert done.returncode == 0 and "example:\n  rbe " in done.stdout and done.stderr == ""


@pytest.mark.parametrize("module", ["rbe_edge", "rbe_edge.cli.main"])
def test_modules_run(module: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith(b"rbe ")


def test_without_a_model_one_is_named(rbe: Rbe) -> None:
    done = rbe("run")
    assert (done.returncode, done.stdout) == (2, "") and "rbe run demo" in done.stderr


def test_same_seed_same_text(rbe: Rbe, tiny_model: Path) -> None:
    def text(seed: int, *more: object) -> str:
        done = rbe("run", tiny_model, "-p", "the thing", "-n", 30, "-s", seed, *FREE, *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return str(done.stdout)

    assert text(5) == text(5, "-t", 1, "-b", 2) != text(6)


def test_json_holds_everything(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("run", "--raw", "-m", tiny_model, "-p", "the thing", "-n", 12, "--seed", 9, "--temp", 0.5, "--json")
    result = json.loads(done.stdout)
    assert result["seed"] == 9 and result["finish"] in ("length", "end")
    assert result["generated_tokens"] == len(result["tokens"]) <= 12
    with rbe_edge.Model.open(tiny_model) as model:
        assert result["prompt_tokens"] == len(model.tokenize("the thing"))
        assert result["text"] == model.detokenize(result["tokens"])
    assert done.stdout.isascii()  # so that no byte of it can steer a terminal
    chosen = json.loads(rbe("run", tiny_model, "-p", "the", "-n", 1, "--json").stdout)["seed"]
    other = json.loads(rbe("run", tiny_model, "-p", "the", "-n", 1, "--json").stdout)["seed"]
    assert chosen != other  # a seed is drawn where none is given, and told


def test_prompt_from_standard_input(rbe: Rbe, tiny_model: Path) -> None:
    arguments = ("run", tiny_model, "-n", 10, "--temp", 0)
    given = rbe(*arguments, "-p", "the thing")
    assert given.stdout.strip()
    assert rbe(*arguments, input="the thing\n").stdout == given.stdout
    assert rbe(*arguments, "-p", "-", input="the thing").stdout == given.stdout


def test_bytes_that_are_no_text_are_a_prompt(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("run", tiny_model, "-n", 3, "--temp", 0, input=b"caf\xe9 \xff", text=False, encoding=None)
    assert done.returncode == 0, done.stderr


def test_verbose_tells_times_on_standard_error(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("run", tiny_model, "-p", "the thing", "-n", 5, "--temp", 0, "-v")
    assert "tokens/s" in done.stderr and "seed" in done.stderr and "tokens/s" not in done.stdout


def test_stop_sequence(rbe: Rbe, tiny_model: Path) -> None:
    arguments = ("run", tiny_model, "-p", "the thing", "-n", 40, "-s", 5, *FREE, "--json")
    text = json.loads(rbe(*arguments).stdout)["text"]
    at = next(i for i in range(5, len(text)) if text[i].isprintable())
    stopped = json.loads(rbe(*arguments, "--stop", text[at]).stdout)
    assert stopped["finish"] == "stop" and stopped["text"] == text[: text.index(text[at])]


def test_full_context_is_told(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("run", "--raw", tiny_model, "-p", "the thing", "-n", -1, "-c", 16, "-s", 5, *FREE, "--json")
    assert done.returncode == 0
    if json.loads(done.stdout)["finish"] == "context":
        assert "context of 16 tokens is full" in done.stderr


def test_control_characters_never_reach_the_terminal(rbe: Rbe, tiny_model: Path) -> None:
    raw = ""
    for seed in range(5):  # a random model draws every byte
        arguments = (
            "run",
            tiny_model,
            "-p",
            "the thing",
            "-n",
            200,
            "-s",
            seed,
            "--temp",
            9,
            "--top-k",
            0,
            "--top-p",
            1,
        )
        raw += json.loads(rbe(*arguments, "--min-p", 0, "--json").stdout)["text"]
        shown = rbe(*arguments, "--min-p", 0, "-v")
        for text in (shown.stdout, shown.stderr):
            assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in text)
    assert any(ord(c) < 32 and c not in "\n\t" for c in raw), "the test never saw a control character"


def test_running_needs_no_numpy(tiny_model: Path, tmp_path: Path) -> None:
    run = ["run", "--raw", str(tiny_model), "-p", "the", "-n", "2"]
    command = [sys.executable, "-X", "importtime", "-m", "rbe_edge", *run]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "rbe_edge.runtime.session" in loaded
    assert not loaded & {"numpy", "rich", "jinja2", "torch"}


def test_inspect_tells_people(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("inspect", tiny_model, "--tensors", "--verify")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert "bits per weight of the whole file" in lines[0] and "tokenizer: 272 tokens" in lines
    assert any(line.startswith("source.sha256") for line in lines) and any(line.startswith("heads") for line in lines)
    assert any(line.split()[:4] == ["embedding", "272", "64", "fp32"] for line in lines)
    assert lines[-1] == "checksums: correct"


def test_damaged_weights_end_in_one_line(rbe: Rbe, tiny_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rbe"
    data = bytearray(tiny_model.read_bytes())
    data[-1000] ^= 1
    damaged.write_bytes(data)
    for command in (["run", "--raw", damaged, "-p", "the", "-n", "1"], ["inspect", damaged, "--verify"]):
        done = rbe(*command)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "damaged file: tensor `" in done.stderr and "field `checksum`" in done.stderr
    assert rbe("run", "--raw", damaged, "-p", "the", "-n", "1", "--no-verify").returncode == 0


def test_inspect_tells_scripts(rbe: Rbe, tiny_model: Path) -> None:
    report = json.loads(rbe("inspect", tiny_model, "--json", "--tensors").stdout)
    assert report["file_bytes"] == tiny_model.stat().st_size and report["verified"] is False
    assert report["bits_per_weight"] == pytest.approx(report["file_bytes"] * 8 / report["parameters"])
    assert report["metadata"]["layers"] == report["layers"] == 2
    assert len(report["tensors"]) == report["n_tensors"] and report["tensors"][0]["kind"] == "fp32"
    assert "tensors" not in json.loads(rbe("inspect", tiny_model, "--json").stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rbe_edge", "inspect", str(tiny_model), "--tensors"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("rbe: ") and done.stderr.count("\n") == 1, done.stderr


def test_output_that_nobody_reads(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rbe_edge", "run", str(tiny_model), "-p", "the", "-n", "200", "--temp", "2"]
    command += ["--seed", "3"]  # whose first token is not the end
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141 and error == b""
