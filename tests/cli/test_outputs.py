"""Where commands write: what is no file is not replaced, what fails is one line, and nothing half-written stays."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line

NO_FILE = "is a device or a pipe, which is not replaced; give the name of a file"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("the cat and the dog sat on the mat. " * 200)
    (tmp_path / "other.txt").write_text("a dog and a cat ran to the hat. " * 200)
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_no_command_replaces_what_is_no_file(rbe_here: Rbe, source: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pipes = [tmp_path / "pipe", tmp_path / "pipe.md", tmp_path / "picture.png", out / "comparison.json"]
    for pipe in pipes:
        os.mkfifo(pipe)
    (tmp_path / "link").symlink_to("pipe")
    there = tree(tmp_path)
    pack = ["pack", source, "--bits", "16", "-o"]
    commands: list[tuple[int, list[object]]] = [
        (1, [*pack, "pipe", "--force"]),
        (1, [*pack, "pipe"]),
        (1, [*pack, "link", "--force"]),
        (1, [*pack, "m.rbe", "--report", "pipe"]),
        (1, ["tune", tiny_model, "--source", source, "--text", "text.txt", "-o", "pipe", "--force"]),
    ]
    if importlib.util.find_spec("matplotlib"):
        commands.append((1, [*pack, "m.rbe", "--report", "picture.png"]))
        commands.append((2, ["compare", source, "--text", "text.txt", "--calibrate", "other.txt", "--out", "out"]))
    for code, command in commands:
        assert NO_FILE in one_line(rbe_here(*command), code), command
        assert tree(tmp_path) == there and all(pipe.is_fifo() for pipe in pipes)


def test_outputs_that_cannot_be(rbe_here: Rbe, source: Path, tmp_path: Path) -> None:
    (tmp_path / "there.rbe").write_text("mine")
    (tmp_path / ".m.rbe.part").symlink_to("there.rbe")
    (tmp_path / "dangling.rbe").symlink_to("nothing")
    there = tree(tmp_path)
    for name, why in {
        ".": "is a directory", "nowhere/m.rbe": "the directory nowhere does not exist; make it first",
        "there.rbe": "exists already; give --force", "there.rbe/m.rbe": "does not exist", "m.rbe": "is in the way",
        "dangling.rbe": "is a link to nothing", "n" * 252 + ".rbe": "File name too long",
    }.items():  # fmt: skip
        assert why in one_line(rbe_here("pack", source, "-o", name, "--bits", "16"), 1), name
    assert tree(tmp_path) == there and (tmp_path / "there.rbe").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(rbe_here: Rbe, source: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    said = one_line(rbe_here("pack", source, "-o", "closed/m.rbe", "--bits", "16"), 1)
    assert "Permission denied" in said and "check the directory" in said


def test_two_at_once(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    """The second gets a line, the first its file."""
    code = (
        "import sys; from rbe_edge.packing.pack import pack, PackOptions\n"
        "def wait(what, done, total):\n"
        "    if what == 'writing': print(what, flush=True); sys.stdin.read()\n"
        "pack(sys.argv[1], __import__('pathlib').Path('m.rbe'), PackOptions(bits=16), wait)"
    )
    command = [sys.executable, "-c", code, str(source)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None and first.stdout.readline() == b"writing\n"
        said = one_line(rbe("pack", source, "-o", "m.rbe", "--bits", "16"), 1)
        assert "m.rbe: is being written by another process; wait for it to end" in said
        first.communicate(timeout=60)
    assert first.returncode == 0 and "m.rbe" in tree(tmp_path) and ".m.rbe.part" not in tree(tmp_path)


def test_what_a_killed_command_left_is_removed_by_the_next(
    source: Path, tiny_model: Path, tmp_path: Path, rbe: Rbe
) -> None:
    """`rbe eval` packs its source into the temporary directory."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "text.txt").write_text("the cat and the dog sat on the mat. " * 20000)  # not done before the signal
    environment = dict(os.environ, TMPDIR=str(temporary))
    arguments = ["eval", tiny_model, "--text", tmp_path / "text.txt", "--source", source, "--window", "32"]
    command = [sys.executable, "-m", "rbe_edge", *map(str, arguments)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 120
        while not list(temporary.glob("*/*/*source.rbe*")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert list(temporary.glob("rbe-eval-*/*/*source.rbe*")), "it was killed while it had the file"
    rbe(*arguments, "--windows", "1", env=environment)
    assert list(temporary.iterdir()) == []
