"""Directories for a while: gone at the end, gone after a kill, never those of others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rbe_edge.files import scratch
from rbe_edge.files.scratch import scratch_directory

HOLDS = """
import sys, time
from rbe_edge.files.scratch import scratch_directory
with scratch_directory("tune") as directory:
    (directory / "sub").mkdir()
    (directory / "sub" / "source.rbe").write_bytes(b"weights" * 1000)
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of this process and of those that it starts."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that has a directory, and that directory."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)


def test_it_is_for_this_user_and_goes(temporary: Path) -> None:
    with scratch_directory("eval") as directory:
        (directory / "file").write_text("large")
        assert temporary in directory.parents
        assert all(path.stat().st_mode & 0o777 == 0o700 for path in (directory, directory.parent))
    with pytest.raises(ZeroDivisionError), scratch_directory("bench"):
        raise ZeroDivisionError
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(temporary: Path) -> None:
    killed, left = holder()
    running, used = holder()
    killed.send_signal(signal.SIGKILL)
    end(killed)
    assert (left / "sub" / "source.rbe").is_file()
    with scratch_directory("compare") as mine, scratch_directory("tune") as other:
        assert mine.is_dir() and other.is_dir() and not left.parent.exists()
        assert (used / "sub" / "source.rbe").is_file()
    end(running)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_nobody_who_stops_waits_until_much_is_removed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    """Another process does it; whatever ends otherwise, or holds little, is removed here."""
    monkeypatch.setattr(scratch, "_MUCH_BYTES", 100)
    removed: list[Path] = []
    here = scratch._remove
    monkeypatch.setattr(scratch, "_remove", lambda directory: (removed.append(directory), here(directory)))
    for n_bytes, error in (101, stop), (100, stop), (101, ValueError):
        with pytest.raises(error), scratch_directory("tune") as directory:
            (directory / "source.rbe").write_bytes(b"w" * n_bytes)
            raise error
        assert removed == ([] if (n_bytes, error) == (101, stop) else [directory.parent])
        removed.clear()
        until = time.monotonic() + 30
        while list(temporary.iterdir()):
            assert time.monotonic() < until, "it is still there"
            time.sleep(0.01)


def test_a_removal_that_was_cut_short_is_finished(temporary: Path) -> None:
    killed, left = holder()
    killed.send_signal(signal.SIGKILL)
    end(killed)
    (left / "sub" / "source.rbe").unlink()
    (left / "sub").rmdir()
    left.rmdir()
    with scratch_directory("tune"):
        assert not left.parent.exists()


def test_what_is_not_of_rbe_stays(temporary: Path, tmp_path: Path) -> None:
    killed, left = holder()
    killed.send_signal(signal.SIGKILL)
    end(killed)
    away = tmp_path / "away"
    left.parent.rename(away)
    (temporary / "rbe-tune-linked00").symlink_to(away)  # a link to what could be removed
    (temporary / "rbe-tune-mine0000").mkdir()
    (temporary / "rbe-tune-mine0000" / "notes.txt").write_text("mine")
    (temporary / "rbe-tune-file0000").write_text("mine")
    (temporary / "rbe-eval-pipe0000").mkdir()
    os.mkfifo(temporary / "rbe-eval-pipe0000" / ".rbe-scratch")
    (temporary / "rbe-eval-link0000").mkdir()
    (temporary / "rbe-eval-link0000" / ".rbe-scratch").symlink_to(away / ".rbe-scratch")
    before = sorted(path for path in tmp_path.rglob("*"))
    with scratch_directory("tune"):
        pass
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_is_of_another_user_stays(temporary: Path) -> None:
    killed, left = holder()
    killed.send_signal(signal.SIGKILL)
    end(killed)
    for owned in (left.parent, left.parent / ".rbe-scratch"):
        os.chown(owned, 12345, -1)
        with scratch_directory("tune"):
            assert (left / "sub" / "source.rbe").is_file()
        os.chown(owned, os.geteuid(), -1)
    with scratch_directory("tune"):
        assert not left.parent.exists()


def test_links_in_it_are_not_followed(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("precious")
    killed, left = holder()
    killed.send_signal(signal.SIGKILL)
    end(killed)
    (left / "link").symlink_to(tmp_path / "precious")
    with scratch_directory("tune") as mine:
        (mine / "link").symlink_to(tmp_path / "precious")
    assert list(temporary.iterdir()) == [] and (tmp_path / "precious" / "file").read_text() == "precious"
