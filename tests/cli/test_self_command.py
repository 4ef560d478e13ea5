"""Programs that carry their model: made by the program in C and by Python alike, and what is damaged is refused.

Skipped where the program was not built.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from command_line import Rbe, one_line

from rbe_edge.packing.carrier import GRAIN, TRAILER_BYTES, trailer
from rbe_edge.runtime.model import demo_path

PROMPT = ["-p", "Once upon a time", "-n", "12", "--temp", "0.8", "-s", "5"]


def run(program: Path, *arguments: object, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)], input=input, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def carrying(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("self") / "pebble"
    done = run(program, "self", demo_path(), "-o", made)
    assert done.returncode == 0 and done.stdout.startswith(f"{made}: a program of "), done.stderr
    return made


def test_the_parts_lie_where_the_format_says(program: Path, carrying: Path) -> None:
    data, own, model = (path.read_bytes() for path in (carrying, program, demo_path()))
    offset = -(-len(own) // GRAIN) * GRAIN
    assert data == own + bytes(offset - len(own)) + model + trailer(offset, len(model))
    assert os.access(carrying, os.X_OK)


def test_it_chats_alone_and_runs(program: Path, carrying: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copy(carrying, tmp_path / "elsewhere"))
    turns = "Hello!\nWhat is your name?\n"
    wanted = run(program, "chat", demo_path(), "--temp", "0", "-n", "20", input=turns)
    assert run(moved, "--temp", "0", "-n", "20", input=turns).stdout == wanted.stdout != ""
    assert run(moved, "chat", "--temp", "0", "-n", "20", input=turns).stdout == wanted.stdout
    assert run(moved, "run", *PROMPT).stdout == run(program, "run", demo_path(), *PROMPT).stdout != ""
    assert run(moved, input="Hello!\n").returncode == 0
    assert run(moved, "--version").stdout == run(program, "--version").stdout
    assert "This program carries a model" in run(moved, "--help").stdout
    inside, outside = (json.loads(run(moved, "inspect", *where, "--json").stdout) for where in ([], [demo_path()]))
    assert {**inside, "path": ""} == {**outside, "path": ""}
    limited = run(moved, "run", *PROMPT, "--max-memory", "1000")
    assert limited.returncode == 1 and "is too small for this model" in limited.stderr


def test_through_a_link_and_after_it_was_removed(carrying: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(carrying)
    assert run(tmp_path / "link", "run", *PROMPT).stdout == run(carrying, "run", *PROMPT).stdout
    own = Path(shutil.copy(carrying, tmp_path / "own"))
    with subprocess.Popen(
        [own], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("Hello!\n")
        process.stdin.flush()
        assert process.stdout.readline().strip()
        own.unlink()
        answer, error = process.communicate("What is your name?\n", timeout=60)
        assert process.returncode == 0 and answer.strip() and not error


def test_python_makes_the_same_bytes(program: Path, carrying: Path, rbe: Rbe, tmp_path: Path) -> None:
    done = rbe("self", demo_path(), "--program", program, "-o", "made", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["program_bytes"] == program.stat().st_size and found["model_bytes"] == demo_path().stat().st_size
    assert (tmp_path / "made").read_bytes() == carrying.read_bytes()
    assert os.access(tmp_path / "made", os.X_OK)
    assert "exists already" in one_line(rbe("self", demo_path(), "--program", program, "-o", "made"), 1)
    assert rbe("self", demo_path(), "--program", program, "-o", "made", "--force").returncode == 0


def test_another_model_takes_the_place_of_the_first(
    program: Path, carrying: Path, tiny_model: Path, tmp_path: Path
) -> None:
    made, direct = tmp_path / "tiny", tmp_path / "direct"
    assert run(carrying, "self", tiny_model, "-o", made).returncode == 0
    assert run(program, "self", tiny_model, "-o", direct).returncode == 0
    offset = struct.unpack_from("<Q", direct.read_bytes(), direct.stat().st_size - TRAILER_BYTES + 16)[0]
    assert made.read_bytes()[offset:] == direct.read_bytes()[offset:]
    assert made.stat().st_size == direct.stat().st_size
    assert run(made, "run", *PROMPT).stdout == run(program, "run", tiny_model, *PROMPT).stdout
    other = tmp_path / "other"
    assert run(carrying, "self", demo_path(), "--program", program, "-o", other).returncode == 0
    assert other.read_bytes() == carrying.read_bytes()


def damaged(carrying: Path, path: Path, at: int, data: bytes) -> Path:
    """A copy whose trailer holds `data` at a place, its checksum as it was."""
    shutil.copy(carrying, path)
    with open(path, "r+b") as file:
        file.seek(at - TRAILER_BYTES, os.SEEK_END)
        file.write(data)
    return path


@pytest.mark.parametrize(
    ("at", "data"),
    [(16, struct.pack("<Q", GRAIN)), (24, struct.pack("<Q", 2**63)), (32, b"\1"), (36, b"\0\0\0\0")],
    ids=["offset", "bytes", "reserved", "checksum"],
)
def test_a_damaged_trailer_is_refused(
    carrying: Path, program: Path, rbe: Rbe, tmp_path: Path, at: int, data: bytes
) -> None:
    bad = damaged(carrying, tmp_path / "bad", at, data)
    for done in (
        run(bad),
        run(bad, "run", *PROMPT),
        run(program, "self", demo_path(), "--program", bad, "-o", tmp_path / "x"),
    ):
        assert "the place of the model that it carries is damaged" in one_line(done, 1)
    assert "is damaged" in one_line(rbe("self", demo_path(), "--program", bad, "-o", "y"), 2)
    assert not (tmp_path / "x").exists() and not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("offset", "n_bytes"),
    [
        (0, 0),
        (GRAIN, 64),
        (GRAIN + 1, 10),
        (2**64 - GRAIN, GRAIN),
        (2**64 - GRAIN, 2**64 - 1),
        (2**40, 1),
        (GRAIN, 2**64 - 1),
    ],
)
def test_a_hostile_trailer_is_refused(carrying: Path, tmp_path: Path, offset: int, n_bytes: int) -> None:
    """Its checksum is right."""
    bad = damaged(carrying, tmp_path / "bad", 0, trailer(offset, n_bytes))
    assert "the place of the model that it carries is damaged" in one_line(run(bad, "run", *PROMPT), 1)


def test_a_place_within_the_program_is_no_model(carrying: Path, tmp_path: Path) -> None:
    size = carrying.stat().st_size
    bad = damaged(carrying, tmp_path / "bad", 0, trailer(GRAIN, size - GRAIN - TRAILER_BYTES))
    assert "not a .rbe file" in one_line(run(bad, "run", *PROMPT), 1)


def test_a_damaged_model_is_refused(carrying: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copy(carrying, tmp_path / "bad"))
    with open(bad, "r+b") as file:
        file.seek(-TRAILER_BYTES - 1000, os.SEEK_END)
        file.write(bytes(64))
    assert "damaged file" in one_line(run(bad, "run", *PROMPT), 1)


def test_one_that_lost_its_end_carries_nothing(carrying: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copy(carrying, tmp_path / "cut"))
    os.truncate(cut, cut.stat().st_size - 1)
    assert one_line(run(cut), 2).startswith("rbe: name a command")
    assert one_line(run(cut, "run", *PROMPT), 2).startswith("rbe: there is no model")


def test_what_is_refused(program: Path, rbe: Rbe, tmp_path: Path) -> None:
    out, model = tmp_path / "out", Path(shutil.copy(demo_path(), tmp_path / "bad.rbe"))
    os.truncate(model, 100000)
    for other in ("/bin/sh", demo_path()):
        done = run(program, "self", demo_path(), "--program", other, "-o", out)
        assert "is no program `rbe` that can carry a model" in one_line(done, 1)
        assert "is no program `rbe`" in one_line(rbe("self", demo_path(), "--program", other, "-o", out), 2)
    for words, code, message in (
        (["self", model, "-o", out], 1, "copy it again"),
        (["self", demo_path()], 2, "rbe self FILE -o PROGRAM"),
        (["self", demo_path(), "-o", tmp_path / "no" / "way"], 1, "No such file"),
        (["self", demo_path(), "-o", model], 1, "exists already; give another name, or --force"),
        (["self", demo_path(), "-o", out, "--program", tmp_path / "nothing"], 1, "No such file"),
    ):
        assert message in one_line(run(program, *words), code)
    assert "copy it again" in one_line(rbe("self", model, "--program", program, "-o", out), 1)
    assert not out.exists() and sorted(os.listdir(tmp_path)) == ["bad.rbe"]
