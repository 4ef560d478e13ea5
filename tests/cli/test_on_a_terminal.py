"""What a person reads on a narrow terminal: words and paths stay whole, tables keep their lines."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Rbe, one_line

COLUMNS = 60


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of one: what is read, what a program is given."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read(ours: int) -> list[str]:
    return os.read(ours, 65536).decode().splitlines()


def test_words_of_an_error_stay_whole(rbe: Rbe, terminal: tuple[int, int]) -> None:
    in_a_pipe = one_line(rbe("run", "no-such-model", "-p", "hi"), 1)
    assert len(in_a_pipe) > COLUMNS
    assert rbe("run", "no-such-model", "-p", "hi", capture_output=False, stderr=terminal[1]).returncode == 1
    lines = read(terminal[0])
    assert len(lines) > 1 and all(len(line) <= COLUMNS for line in lines)
    assert " ".join(lines) == in_a_pipe.rstrip("\n")
    wrong = one_line(rbe("run", "--no-such-option-" + 60 * "x"), 2)
    assert rbe("run", "--no-such-option-" + 60 * "x", capture_output=False, stderr=terminal[1]).returncode == 2
    assert " ".join(read(terminal[0])) == wrong.rstrip("\n")


def test_a_list_keeps_its_lines(
    rbe: Rbe, terminal: tuple[int, int], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    directory = tmp_path / ("long" * 20)
    directory.mkdir()
    (directory / "m.rbe").symlink_to(tiny_model)
    assert str(directory / "m.rbe") in rbe("list", directory).stdout
    assert rbe("list", directory, capture_output=False, stdout=terminal[1]).returncode == 0
    heads, line = read(terminal[0])
    assert len(line) <= COLUMNS and line.endswith("long/m.rbe"[-(COLUMNS - heads.index("file") - 1) :]) and "…" in line


def test_a_context_that_is_too_small_names_the_option(rbe: Rbe) -> None:
    line = one_line(rbe("run", "demo", "-c", 16, "-p", "battery " * 40), 1)
    assert line.endswith("; shorten it or make the context larger, up to 1024 (-c)\n")
    line = one_line(rbe("run", "demo", "-c", 1024, "-p", "battery " * 2000), 1)
    assert line.endswith("; shorten it, this model takes no more\n")


@pytest.mark.parametrize(("closed", "shown"), [("<&-", "Hello! It\n"), (">&-", ""), ("2>&-", "Hello! It\n")])
def test_a_stream_may_be_closed(tmp_path: Path, closed: str, shown: str) -> None:
    command = shlex.join([sys.executable, "-m", "rbe_edge", "run", "demo", "-p", "hello", "-n", "3"])
    done = subprocess.run(f"{command} {closed}", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")
