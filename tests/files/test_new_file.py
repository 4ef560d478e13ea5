"""Files that appear whole: what they replace, what stands where their temporary file will be, who else writes them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbe_edge.errors import PackError
from rbe_edge.files.new_file import NewFile, beside, check_place, read_ours, write_file


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def put(path: Path, data: bytes = b"new", *, replace: bool = True, private: bool = False) -> None:
    write_file(path, data, PackError, replace=replace, private=private)


@pytest.fixture(params=["pipe", "socket", "device"])
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is neither file nor directory."""
    path = tmp_path / "special"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as opened:
            monkeypatch.chdir(tmp_path)  # its name may be long, and that of a socket may not
            opened.bind("special")
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # as /dev/null
        except OSError:
            pytest.skip("this user makes no devices")
    return path


@pytest.mark.parametrize("by_link", [False, True])
def test_what_is_no_file_is_not_replaced(special: Path, by_link: bool) -> None:
    before, target = special.lstat(), special
    if by_link:
        target = special.with_name("link")
        target.symlink_to(special)
    there = names(special.parent)
    with pytest.raises(PackError, match="is a device or a pipe, which is not replaced; give the name of a file"):
        put(target)
    assert os.path.samestat(special.lstat(), before) and names(special.parent) == there


def test_a_pipe_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="device or a pipe"), NewFile(tmp_path / "out", PackError, replace=True) as file:
        file.write(b"new")
        os.mkfifo(tmp_path / "out")
        file.commit()
    assert (tmp_path / "out").is_fifo() and names(tmp_path) == ["out"]


def test_where_no_file_can_be_put(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    there = names(tmp_path)
    for name, why in {
        ".": "is a directory", "nowhere/out": "does not exist; make it first", "file/out": "does not exist",
        "dangling": "is a link to nothing", "circle": "cannot be written", "n" * 256: "File name too long",
        "zero\0": "null byte",
    }.items():  # fmt: skip
        with pytest.raises(PackError, match=why) as raised:
            put(tmp_path / name)
        assert "\n" not in str(raised.value)
    with pytest.raises(PackError, match="exists already; give another name"):
        put(tmp_path / "file", replace=False)
    assert names(tmp_path) == there and (tmp_path / "file").read_text() == "a file"


def test_a_link_to_a_file_stays_and_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real"
    real.write_text("old")
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to("far/real")
    with pytest.raises(PackError, match="exists already"):
        put(tmp_path / "link", replace=False)
    put(tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "second" and not real.is_symlink()
    assert real.read_text() == "new" and names(tmp_path / "far") == ["real"]


def test_a_hard_link_keeps_what_it_had(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    os.link(tmp_path / "out", tmp_path / "other")
    put(tmp_path / "out")
    assert (tmp_path / "other").read_text() == "old" and (tmp_path / "out").read_text() == "new"


def link(part: Path, victim: Path) -> None:
    part.symlink_to(victim)


def dangling_link(part: Path, victim: Path) -> None:
    part.symlink_to(victim.with_name("appears"))


def link_to_directory(part: Path, victim: Path) -> None:
    part.symlink_to(victim.parent)


def hard_link(part: Path, victim: Path) -> None:
    os.link(victim, part)


def pipe(part: Path, victim: Path) -> None:
    os.mkfifo(part)


def directory(part: Path, victim: Path) -> None:
    part.mkdir()


@pytest.mark.parametrize("plant", [link, dangling_link, link_to_directory, hard_link, pipe, directory])
def test_what_stands_where_the_temporary_file_will_be(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    victim, part = tmp_path / "victim", tmp_path / ".out.part"
    victim.write_text("precious")
    plant(part, victim)
    before, there = part.lstat(), names(tmp_path)
    with pytest.raises(PackError, match=r"\.out\.part: is in the way and not of rbe; remove it"):
        put(tmp_path / "out")
    assert victim.read_text() == "precious" and names(tmp_path) == there
    assert os.path.samestat(part.lstat(), before)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_temporary_file_of_another_user(tmp_path: Path) -> None:
    part = tmp_path / ".out.part"
    part.write_text("theirs")
    os.chown(part, 12345, -1)
    with pytest.raises(PackError, match="in the way"):
        put(tmp_path / "out")
    assert part.read_text() == "theirs" and read_ours(part) is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_rights(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(tmp_path / "private", private=True)
        put(tmp_path / "open")
    finally:
        os.umask(before)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".out.part").write_bytes(b"left by a killed writer" * 1000)
    (tmp_path / ".out.part").chmod(0o644)
    put(tmp_path / "out", private=True)
    assert (tmp_path / "out").read_bytes() == b"new" and names(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    (tmp_path / "link").symlink_to("out")
    with NewFile(tmp_path / "out", PackError, replace=True) as file:
        for path in ("out", "link"):
            with pytest.raises(PackError, match="being written by another process; wait"):
                put(tmp_path / path)
        file.write(b"first")
        file.commit()
    put(tmp_path / "link", b"second")
    assert (tmp_path / "out").read_bytes() == b"second" and names(tmp_path) == ["link", "out"]


def test_giving_up_leaves_the_file_of_another(tmp_path: Path) -> None:
    with NewFile(tmp_path / "out", PackError) as file:
        file.part.unlink()
        file.part.write_text("another's by now")
    assert (tmp_path / ".out.part").read_text() == "another's by now"


@pytest.mark.parametrize("letter", ["n", "ü", "語", "🙂"])
@pytest.mark.parametrize("length", [247, 248, 249, 250, 254, 255])
def test_long_names(tmp_path: Path, letter: str, length: int) -> None:
    name = (letter * 255).encode()[:length].decode("utf-8", "ignore")
    name += "x" * (length - len(name.encode()))
    put(tmp_path / name)
    assert names(tmp_path) == [name]
    for before, after in ((".", ".part"), ("", ".partial")):
        made = beside(tmp_path / name, before, after)
        assert len(os.fsencode(made.name)) <= 255 and made.name.endswith(after) and made != tmp_path / name
        made.touch()  # the file system takes it
    other = name[:-1] + "y"
    assert beside(tmp_path / name, ".", ".part") != beside(tmp_path / other, ".", ".part")


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff" * 255)
    try:
        put(tmp_path / name)
    except PackError:
        pytest.skip("this file system takes text alone")
    assert names(tmp_path) == [name]


def test_reading_what_is_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    found = {name: read_ours(tmp_path / name) for name in ("file", "link", "pipe", "missing", ".")}
    assert found == {"file": b"mine", "link": None, "pipe": None, "missing": None, ".": None}
    os.link(tmp_path / "file", tmp_path / "second")
    assert read_ours(tmp_path / "file") is None


def test_check_place_gives_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert check_place(tmp_path / "new", PackError) == tmp_path / "new"
    assert check_place(tmp_path / "link", PackError, replace=True) == (tmp_path / "real").resolve()


KILLED = """
import os, signal, sys
from pathlib import Path
from rbe_edge.errors import PackError
from rbe_edge.files import new_file

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(new_file.os, sys.argv[1], die)
new_file.write_file(Path("out"), b"new", PackError, replace=True)
"""


@pytest.mark.parametrize("at", ["ftruncate", "write", "fsync", "replace"])
def test_killed(tmp_path: Path, at: str) -> None:
    (tmp_path / "out").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, at], cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "out").read_text() == "old"
    put(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "new" and names(tmp_path) == ["out"]


def test_file_systems_without_owners_and_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They give every file to one user, and refuse other rights: what is new is ours all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "fchmod", refuse)
    put(tmp_path / "out", private=True)
    put(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    (tmp_path / ".out.part").write_text("theirs, or left")
    with pytest.raises(PackError, match="in the way"):
        put(tmp_path / "out")


@pytest.mark.parametrize("whole", [True, False])
def test_a_press_right_behind_closing_is_what_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    close, pressed = os.close, []

    def press(fd: int) -> None:
        close(fd)
        if not pressed:
            pressed.append(fd)
            raise KeyboardInterrupt

    file = NewFile(tmp_path / "out", PackError)
    with pytest.raises(KeyboardInterrupt), file:
        file.write(b"new")
        monkeypatch.setattr(os, "close", press)
        if whole:
            file.commit(lasting=False)
    assert len(pressed) == 1 and names(tmp_path) == (["out"] if whole else [])
