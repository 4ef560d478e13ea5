"""Commands on models by name: list, show, cp, rm, pull; questions on the command line; commands that are not there."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line

from rbe_edge.cli import asked, pull_table
from rbe_edge.models import find, folder
from rbe_edge.packing import options as packing
from rbe_edge.runtime.model import demo_path

GREEDY = ("--temp", 0, "-n", 8)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    """A model folder that holds smol:4bit."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder.made_directory()
    shutil.copy(tiny_model, folder.file_of("smol:4bit"))
    return folder.directory()


def test_every_command_takes_a_name(rbe: Rbe, models: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words of a text " * 20)
    assert (
        "format" in rbe("inspect", "smol").stdout and rbe("show", "smol").stdout == rbe("inspect", "smol:4bit").stdout
    )
    assert rbe("run", "smol", "-p", "once", *GREEDY).returncode == 0
    assert rbe("chat", "smol", "hello", *GREEDY).returncode == 0
    assert rbe("eval", "smol", "--text", text, "--json").returncode == 0
    bench = rbe("bench", "smol", "--workloads", "tg4", "-r", 1, "--json")
    assert bench.returncode == 0, bench.stderr
    for command in (
        ("run", "-p", "x"),
        ("chat", "-p", "x"),
        ("inspect",),
        ("eval", "--text", text),
        ("bench",),
        ("serve",),
    ):
        line = one_line(rbe(command[0], "smoll", *command[1:]), 1)
        assert "did you mean smol" in line, command


def test_a_source_is_packed_for_a_command(
    rbe_here: Rbe, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PackOptions", partial(packing.PackOptions, calibrate="none"))
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")
    assert "--text FILE" in one_line(rbe_here("eval", source), 2)  # nothing to measure, so nothing is packed
    first = rbe_here("inspect", source)
    assert first.returncode == 0 and "packing" in first.stderr and "tiny:4bit" in first.stderr
    second = rbe_here("inspect", source)
    assert (second.stdout, second.stderr) == (first.stdout, "")
    packed = rbe_here("pack", source, "--bits", 3)
    assert packed.returncode == 0 and "try it: rbe chat tiny:3bit" in packed.stdout
    names = {model["name"] for model in json.loads(rbe_here("list", "--json").stdout)["models"]}
    assert names == {"smol:4bit", "tiny:4bit", "tiny:3bit", "demo"}


def test_copy_and_remove(rbe_here: Rbe, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rbe_here("cp", "smol", "mine").returncode == 0
    assert "exists already" in one_line(rbe_here("cp", "smol", "mine"), 1)
    assert "no name" in one_line(rbe_here("cp", "smol", "../mine"), 2)
    assert "comes with rbe" in one_line(rbe_here("cp", "smol", "demo"), 2)
    (tmp_path / "notes.txt").write_text("no model")
    assert "not a .rbe file" in one_line(rbe_here("cp", "notes.txt", "notes"), 1)
    assert "nobody is there" in one_line(rbe_here("rm", "mine"), 2)
    assert (models / "mine.rbe").exists()
    assert "there is no model called nothing" in one_line(rbe_here("rm", "mine", "nothing", "--yes"), 2)
    assert (models / "mine.rbe").exists()
    assert rbe_here("rm", "mine", "--yes").returncode == 0 and not (models / "mine.rbe").exists()


@pytest.mark.parametrize(("answer", "code", "stays"), [(b"y\n", 0, False), (b"\n", 1, True), (b"what\n", 1, True)])
def test_removing_asks(rbe: Rbe, models: Path, answer: bytes, code: int, stays: bool) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = rbe("rm", "smol", input=None, stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code and "remove smol:4bit (" in done.stderr
    assert (models / "smol-4bit.rbe").exists() == stays


def test_pull(rbe_here: Rbe, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_table, "bytes_per_second", lambda: 1e10)
    listed = rbe_here("pull")
    assert listed.returncode == 0 and "smollm2-135m" in listed.stdout and "Apache-2.0" in listed.stdout
    entries = json.loads(rbe_here("pull", "--json").stdout)
    assert entries[0]["bytes_by_bits"] == {"3": 50443128, "4": 67257504, "5": 84071880}
    assert "neither on the list" in one_line(rbe_here("pull", "nothing"), 2)
    assert "neither on the list" in one_line(rbe_here("pull", ""), 2)
    assert "did you mean smollm2-135m? " in one_line(rbe_here("pull", "smolm2-135m"), 2)
    assert f"rbe pack {models}" in one_line(rbe_here("pull", models), 2)
    assert "--bits 1 is not possible" in one_line(rbe_here("pull", "a/b:1bit"), 1)
    assert "--bits 99 is not possible" in one_line(rbe_here("pull", "smollm2-135m", "--bits", 99), 1)
    assert "differ" in one_line(rbe_here("pull", "smollm2-135m:4bit", "--bits", 3), 2)
    pulled: list[tuple[str, float, str]] = []

    def pull(repository: str, waiter: object, bits: float, effort: str) -> Path:
        pulled.append((repository, bits, effort))
        return models / "smol-4bit.rbe"

    monkeypatch.setattr(find, "pulled", pull)
    assert "rbe chat smol:4bit" in rbe_here("pull", "smollm2-135m:3.5bit").stdout
    rbe_here("pull", "a/b", "--bits", 5, "--effort", "best")
    rbe_here("pull", "https://huggingface.co/a/b/")
    rbe_here("pull", "hf.co/a/b:3bit")
    assert pulled == [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 3.5, "quick"),
        ("a/b", 5, "best"),
        ("a/b", 4, "quick"),
        ("a/b", 3, "quick"),
    ]


def test_a_question_and_what_is_piped(rbe: Rbe, tmp_path: Path) -> None:
    alone = rbe("chat", "demo", "Hello!", stdin=-3, input=None)
    assert alone.returncode == 0 and alone.stdout.startswith("Hello!") and alone.stderr == ""
    assert rbe("chat", "demo", "-p", "Hello!", stdin=-3, input=None).stdout == alone.stdout
    assert rbe("chat", "demo", "Hello!", input="").stdout == alone.stdout  # an empty pipe
    assert rbe("chat", "demo", "-p", "-", input="Hello!\n").stdout == alone.stdout
    together = rbe("chat", "demo", "Hello!", "--json", input="How does a battery age?\n")
    spelled = rbe("chat", "demo", "Hello!\n\nHow does a battery age?", "--json", stdin=-3, input=None)
    assert json.loads(together.stdout)["content"] == json.loads(spelled.stdout)["content"]
    assert json.loads(together.stdout)["prompt_tokens"] == json.loads(spelled.stdout)["prompt_tokens"]
    assert "given twice" in one_line(rbe("chat", "demo", "Hello!", "-p", "Hello!"), 2)
    assert "is empty" in one_line(rbe("chat", "demo", " "), 2)


def test_run_asks_a_model_that_answers(rbe: Rbe) -> None:
    asked_it = rbe("run", "demo", "-p", "Hello!", stdin=-3, input=None)
    assert asked_it.stdout == rbe("chat", "demo", "Hello!", stdin=-3, input=None).stdout
    assert rbe("run", "demo", input="Hello!\n").stdout == asked_it.stdout
    raw = rbe("run", "demo", "--raw", "-p", "Hello!", *GREEDY, stdin=-3, input=None)
    assert raw.returncode == 0 and raw.stdout != asked_it.stdout
    attached = rbe("run", "demo", "-p", "Hello!", "--json", input="one two three")
    spelled = rbe("run", "demo", "-p", "Hello!\n\none two three", "--json", stdin=-3, input=None)
    assert json.loads(attached.stdout)["tokens"] == json.loads(spelled.stdout)["tokens"]


def test_a_socket_is_no_attachment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts programs with one may never close it."""
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb", buffering=0) as stdin:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stdin)))  # type: ignore[type-var]
        assert asked.with_attachment("alone") == "alone"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("chta", "did you mean chat?"), ("packk", "did you mean pack?"), ("xyzzy", "lists the commands")],
)
def test_commands_that_are_not_there(rbe_here: Rbe, typed: str, meant: str) -> None:
    assert meant in one_line(rbe_here(typed), 2)
    assert meant in one_line(rbe_here("help", typed), 2)


def test_a_file_instead_of_a_command(rbe: Rbe, tmp_path: Path) -> None:
    shutil.copy(demo_path(), tmp_path / "m.rbe")
    assert "to talk to it: rbe chat m.rbe" in one_line(rbe("m.rbe"), 2)


def test_help(rbe_here: Rbe) -> None:
    assert rbe_here("help", "chat").stdout.startswith("usage: rbe chat")
    listed = rbe_here("help").stdout
    assert "rbe help COMMAND" in listed and "\n  pull " in listed
    assert rbe_here().stdout.startswith("usage: rbe ") and rbe_here().returncode == 0  # no terminal: help


def test_a_question_may_stand_behind_options(rbe: Rbe, rbe_here: Rbe) -> None:
    """Of chat and run, where it may be left out too."""
    asked = rbe("chat", "demo", "Hello!", *GREEDY)
    assert asked.returncode == 0 and asked.stdout
    for words in (
        ("chat", "demo", *GREEDY, "Hello!"),
        ("run", "demo", "Hello!", *GREEDY),
        ("run", "demo", *GREEDY, "Hello!"),
        ("run", "demo", *GREEDY, "-p", "Hello!"),
    ):
        assert rbe(*words).stdout == asked.stdout, words
    assert "the prompt is given twice" in one_line(rbe_here("run", "demo", "a", "-p", "b"), 2)
    assert "to ask the demo model: rbe chat demo 'Hello there!'" in one_line(rbe_here("chat", "Hello there!"), 1)
    assert "it fits" in rbe_here("fit", "demo").stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("chat", "--tmep", "1"), "did you mean --temp?; see `rbe chat --help`"),
        (("pack", "x", "--efort=quick"), "did you mean --effort?; see `rbe pack --help`"),
        (("run", "x.rbe", "hello", "extra"), "unrecognized arguments: extra; see `rbe run --help`"),
        (("run", "x.rbe", "-n", "3", "hello", "extra"), "unrecognized arguments: hello extra; see `rbe run --help`"),
        (("chat", "--xyzzy"), "unrecognized arguments: --xyzzy; see"),
    ],
)
def test_options_that_are_not_there(rbe_here: Rbe, typed: tuple[str, ...], said: str) -> None:
    assert said in one_line(rbe_here(*typed), 2)


def test_commands_that_pack_nothing_take_names_too(rbe_here: Rbe, models: Path, program: Path) -> None:
    assert "it fits" in rbe_here("fit", "smol").stdout
    assert rbe_here("self", "smol", "-o", "program", "--program", program).returncode == 0
