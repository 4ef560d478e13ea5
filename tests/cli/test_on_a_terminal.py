"""What a person reads on a narrow terminal: words and paths stay whole, tables keep their lines."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line
from rich.cells import cell_len

from rbe_edge.cli import word_wrap
from rbe_edge.cli.word_wrap import WordWrap

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


def test_where_a_list_has_no_room_for_paths_no_head_speaks_of_them(
    rbe: Rbe, terminal: tuple[int, int], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / f"{'long' * 6}.rbe").symlink_to(tiny_model)
    assert rbe("list", tmp_path, capture_output=False, stdout=terminal[1]).returncode == 0
    heads, line = read(terminal[0])
    assert heads.endswith(" context") and str(tmp_path)[-3:] not in line


def test_what_a_packing_says_last_keeps_its_words(rbe: Rbe, terminal: tuple[int, int], tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama_tied"], tmp_path / "tiny")
    arguments = ("pack", source, "--bits", 16, "-o", tmp_path / "made.rbe")
    assert rbe(*arguments, capture_output=False, stdout=terminal[1]).returncode == 0
    lines = read(terminal[0])
    assert lines[-1] == f"try it: rbe chat {tmp_path / 'made.rbe'}" and len(lines) > 2
    assert "bits per weight" in " ".join(lines) and all(
        len(line.split()) == 1 or len(line) <= COLUMNS for line in lines[:-1]
    )


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


class Screen(io.StringIO):
    """A terminal of 30 columns that obeys what is written, and takes back what goes beyond its last column."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for back, char in re.findall(r"\x1b\[(\d+)D\x1b\[K|(.)", text, re.DOTALL):
            if back:
                self.lines[-1] = self.lines[-1][: -int(back)]
            elif char == "\n":
                self.lines.append("")
            else:
                self.lines[-1] += char
                assert cell_len(self.lines[-1]) < 30, self.lines
        return len(text)


def shown(text: str, monkeypatch: pytest.MonkeyPatch, sizes: Iterable[int] = (1,)) -> list[str]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(word_wrap, "columns", lambda stream: 30)
    screen, lengths = Screen(), itertools.cycle(sizes)
    wrap = WordWrap(screen)
    while text:
        length = next(lengths)
        wrap.write(text[:length])
        text = text[length:]
    return screen.lines


TEXT = (
    "A battery holds energy, and gives it back when somebody needs it. \n\n  * indented, with a few words\tand tabs\n"
    "https://example.org/a-word-that-is-longer-than-a-line-of-the-terminal ends. "
    "\u96fb\u6c60\u306f\u96fb\u6c17\u3092\u84c4\u3048\u3001\u5fc5\u8981\u306a\u3068\u304d\u306b\u653e\u51fa end"
)


@pytest.mark.parametrize("sizes", [(1,), (3, 5), (1000,)])
def test_words_of_an_answer_stay_whole(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]) -> None:
    lines = shown(TEXT, monkeypatch, sizes)
    assert [line.rstrip() for line in lines[:4]] == [
        "A battery holds energy, and",
        "gives it back when somebody",
        "needs it.",
        "",
    ]
    assert "".join("".join(lines).split()) == "".join(TEXT.split())  # nothing is lost, nothing stays behind
    for line, following in itertools.pairwise(lines):
        word = following.split(" ")[0]
        if word and word.isascii() and len(word) < 29 and not word.startswith(("A", "https")) and line:
            assert cell_len(line.rstrip() + " " + word) > 29, (line, following)


def test_what_is_no_terminal_gets_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        WordWrap(file).write(TEXT)
        file.seek(0)
        assert file.read() == TEXT
    monkeypatch.setattr(word_wrap, "columns", lambda stream: 30)
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    WordWrap(out).write(TEXT)
    assert out.getvalue() == TEXT
