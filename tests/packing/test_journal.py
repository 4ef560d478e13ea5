"""An interrupted packing goes on where it was, and its file is that of an uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge.cli.main import main
from rbe_edge.cli.output import ProgressBar
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing.journal import Finished, Journal, partial_directory
from rbe_edge.packing.pack import PackOptions, pack

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 60

KILLED = """
import os, signal, sys
from pathlib import Path
from fixed_planes import fixed_planes
from rbe_edge.packing.pack import PackOptions, pack

def kill(what, done, total):
    if what == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

with fixed_planes((3,)):
    pack(Path("tiny"), Path("m.rbe"), PackOptions(bits=3, calibrate=Path("text.txt")), kill)
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """Planes are given, so that nothing is encoded to measure what to give."""
    (tmp_path / "text.txt").write_text(TEXT)
    with fixed_planes((3,)):
        yield tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")


def options(tmp_path: Path, **others: object) -> PackOptions:
    return PackOptions(**{"bits": 3, "calibrate": tmp_path / "text.txt", **others})  # type: ignore[arg-type]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the matrices that are encoded."""
    shapes: list[tuple[int, ...]] = []
    encode = trellis.encode

    def count(weights, *arguments, **named):  # type: ignore[no-untyped-def]
        shapes.append(weights.shape)
        return encode(weights, *arguments, **named)

    monkeypatch.setattr(trellis, "encode", count)
    return shapes


# In the middle of a layer, whose statistics were taken before some of its matrices were replaced; between layers; at
# the end, where only the head is left.
@pytest.mark.parametrize(
    "at", ["layers.0.feed_forward.up", "layers.1.attention.q", "layers.1.feed_forward.down", "head"]
)
def test_killed(source: Path, tmp_path: Path, encoded: list[tuple[int, ...]], at: str) -> None:
    whole = pack(source, tmp_path / "whole.rbe", options(tmp_path))
    all_of_them = len(encoded)
    (tmp_path / "temporary").mkdir()
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), TMPDIR=str(tmp_path / "temporary")
    )
    killed = subprocess.run([sys.executable, "-c", KILLED, at], cwd=tmp_path, env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    done = len(list(partial_directory(tmp_path / "m.rbe").glob("*.tensor")))
    assert (partial_directory(tmp_path / "m.rbe") / "scratch").stat().st_size > whole.file_bytes
    assert list((tmp_path / "temporary").iterdir()) == []
    (tmp_path / "temporary").rmdir()
    assert 0 < done < all_of_them and not (tmp_path / "m.rbe").exists()
    encoded.clear()
    resumed = pack(source, tmp_path / "m.rbe", options(tmp_path, threads=1))
    assert len(encoded) == all_of_them - done
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert [tensor.error for tensor in resumed.tensors] == [tensor.error for tensor in whole.tensors]
    assert names(tmp_path) == ["m.rbe", "text.txt", "tiny", "whole.rbe"]


def test_killed_before_anything_is_finished(source: Path, tmp_path: Path) -> None:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-c", KILLED, "preparing calibration"]
    killed = subprocess.run(command, cwd=tmp_path, env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert names(partial_directory(tmp_path / "m.rbe")) == [".scratch.part", "key"]
    pack(source, tmp_path / "m.rbe", options(tmp_path, calibrate="none"))
    assert names(tmp_path) == ["m.rbe", "text.txt", "tiny"]


def interrupt(source: Path, out: Path, chosen: PackOptions, error: type[BaseException] = KeyboardInterrupt) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what == "layers.1.attention.q":
            raise error

    with pytest.raises(error):
        pack(source, out, chosen, stop)


def test_the_command_says_how_to_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(bar: ProgressBar, what: str, done: int, total: int) -> None:
        if what == "layers.1.attention.q":
            raise KeyboardInterrupt

    arguments = ["pack", str(source), "-o", str(tmp_path / "m.rbe"), "--bits", "3", "--calibrate", "none"]
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "show", stop)
        assert main(arguments) == 130
    message = capsys.readouterr().err
    assert f"{tmp_path / 'm.rbe'}.partial: the same command goes on from there" in message and message.count("\n") == 1
    assert main(arguments) == 0
    assert names(tmp_path) == ["m.rbe", "text.txt", "tiny"]


def test_work_of_another_kind_is_not_taken(source: Path, tmp_path: Path, encoded: list[tuple[int, ...]]) -> None:
    (tmp_path / "other.txt").write_text(TEXT.replace("cake", "cat"))
    out = tmp_path / "m.rbe"
    for others in ({"bits": 2}, {"calibrate": "none"}, {"calibrate": tmp_path / "other.txt"}):
        interrupt(source, out, options(tmp_path))
        assert partial_directory(out).is_dir()
        encoded.clear()
        report = pack(source, out, options(tmp_path, **others))
        assert len(encoded) == sum(tensor.kind == "trellis" for tensor in report.tensors)
        assert not partial_directory(out).exists()
        out.unlink()


def test_an_error_leaves_nothing(source: Path, tmp_path: Path) -> None:
    interrupt(source, tmp_path / "m.rbe", options(tmp_path), RuntimeError)
    assert names(tmp_path) == ["text.txt", "tiny"]


def test_what_is_cut_off_or_damaged_does_not_count(tmp_path: Path) -> None:
    out = tmp_path / "m.rbe"
    kept = Finished(bytes(range(200)), 0.25, 0.5)
    with pytest.raises(KeyboardInterrupt), Journal(out) as journal:
        journal.begin(["a", "b"])
        journal.write(7, kept)
        raise KeyboardInterrupt
    path = journal.directory / "00007.tensor"
    good = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), Journal(out) as journal:
        journal.begin(["a", "b"])
        assert journal.read(7, 200) == kept
        assert journal.read(7, 199) is None and journal.read(8, 200) is None
        for bad in (
            b"",
            good[:10],
            good[:-1],
            good + b"x",
            bytes([good[0] ^ 1]) + good[1:],
            good[:99] + good[100:] + b"x",
        ):
            path.write_bytes(bad)
            assert journal.read(7, 200) is None
        path.write_bytes(good)
        raise KeyboardInterrupt
    with Journal(out) as journal:
        journal.begin(["ab"])
        assert journal.read(7, 200) is None
    assert names(tmp_path) == []


def test_a_directory_of_somebody_else(source: Path, tmp_path: Path) -> None:
    directory = partial_directory(tmp_path / "m.rbe")
    directory.mkdir()
    for name in ("mine.txt", "key"):
        (directory / name).write_text("mine")
        with pytest.raises(PackError, match="is in the way"):
            pack(source, tmp_path / "m.rbe", options(tmp_path, calibrate="none"))
        assert names(tmp_path) == ["m.rbe.partial", "text.txt", "tiny"]
        (directory / name).unlink()
    pack(source, tmp_path / "m.rbe", options(tmp_path, calibrate="none"))
    assert names(tmp_path) == ["m.rbe", "text.txt", "tiny"]


def linked(directory: Path, elsewhere: Path) -> None:
    directory.symlink_to(elsewhere)


def dangling(directory: Path, elsewhere: Path) -> None:
    directory.symlink_to(elsewhere.with_name("nothing"))


def linked_to_a_file(directory: Path, elsewhere: Path) -> None:
    directory.symlink_to(elsewhere / "key")


def piped(directory: Path, elsewhere: Path) -> None:
    os.mkfifo(directory)


def written(directory: Path, elsewhere: Path) -> None:
    directory.write_text("a file")


@pytest.mark.parametrize("plant", [linked, dangling, linked_to_a_file, piped, written])
def test_what_stands_in_the_place_of_the_directory(
    source: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key").write_bytes(b"rbe partial 1 ")  # as a directory of ours has it
    (elsewhere / "00000.tensor").write_text("precious")
    plant(partial_directory(tmp_path / "m.rbe"), elsewhere)
    there = names(tmp_path)
    with pytest.raises(PackError, match=r"m\.rbe\.partial: is in the way and not of rbe; remove it"):
        pack(source, tmp_path / "m.rbe", options(tmp_path, calibrate="none"))
    assert names(tmp_path) == there and names(elsewhere) == ["00000.tensor", "key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    directory = partial_directory(tmp_path / "m.rbe")
    directory.mkdir()
    os.chown(directory, 12345, -1)
    with pytest.raises(PackError, match="in the way"), Journal(tmp_path / "m.rbe"):
        pass
    assert directory.is_dir()


def test_files_in_it_are_not_written_through(tmp_path: Path) -> None:
    out, victim = tmp_path / "m.rbe", tmp_path / "victim"
    with pytest.raises(KeyboardInterrupt), Journal(out) as journal:
        journal.begin(["a"])
        journal.write(0, Finished(b"data", 0.0, 0.0))
        raise KeyboardInterrupt
    journal.directory.chmod(0o777)
    kept = journal.directory / "00000.tensor"
    victim.write_bytes(kept.read_bytes())
    kept.unlink()
    kept.symlink_to(victim)
    os.link(victim, journal.directory / "00001.tensor")
    os.mkfifo(journal.directory / "00002.tensor")
    before = victim.read_bytes()
    with Journal(out) as journal:
        assert journal.directory.stat().st_mode & 0o777 == 0o700
        journal.begin(["a"])
        for number in range(3):
            assert journal.read(number, 4) is None
            journal.write(number, Finished(b"else", 0.0, 0.0))
            assert journal.read(number, 4) == Finished(b"else", 0.0, 0.0)
        assert victim.read_bytes() == before
    assert names(tmp_path) == ["victim"]


def test_it_is_for_its_owner(source: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        interrupt(source, tmp_path / "m.rbe", options(tmp_path, calibrate="none"))
    finally:
        os.umask(before)
    assert partial_directory(tmp_path / "m.rbe").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("length", [247, 248, 255])
def test_long_names(source: Path, tmp_path: Path, encoded: list[tuple[int, ...]], length: int) -> None:
    out = tmp_path / ("n" * (length - 4) + ".rbe")
    interrupt(source, out, options(tmp_path, calibrate="none"))
    before = len(encoded)
    assert before and partial_directory(out).is_dir()
    report = pack(source, out, options(tmp_path, calibrate="none"))
    assert len(encoded) == sum(tensor.kind == "trellis" for tensor in report.tensors), "none was encoded twice"
    assert names(tmp_path) == [out.name, "text.txt", "tiny"]


def test_a_link_to_a_file_goes_on_beside_the_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.rbe").write_text("old")
    (tmp_path / "m.rbe").symlink_to("far/real.rbe")
    chosen = options(tmp_path, calibrate="none", force=True)
    interrupt(source, tmp_path / "m.rbe", chosen)
    assert partial_directory(tmp_path / "m.rbe") == (tmp_path / "far" / "real.rbe.partial").resolve()
    assert names(tmp_path / "far") == ["real.rbe", "real.rbe.partial"]
    report = pack(source, tmp_path / "m.rbe", chosen)
    assert report.path == tmp_path / "m.rbe" and (tmp_path / "m.rbe").is_symlink()
    assert names(tmp_path / "far") == ["real.rbe"] and (tmp_path / "m.rbe").stat().st_size == report.file_bytes


@pytest.mark.parametrize("at", [1, 2])
def test_killed_while_the_key_is_written(source: Path, tmp_path: Path, at: int) -> None:
    """The first key, and that of the work, when the dense copy lies there already."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    code = KILLED.replace(
        "with fixed_planes",
        "replace, seen = os.replace, []\n"
        "def die(old, new):\n"
        "    if Path(new).name == 'key':\n"
        "        seen.append(new)\n"
        f"        if len(seen) == {at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(old, new)\n"
        "os.replace = die\n"
        "with fixed_planes",
    )
    killed = subprocess.run([sys.executable, "-c", code, "never"], cwd=tmp_path, env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    left = names(partial_directory(tmp_path / "m.rbe"))
    assert left == (["key.part"] if at == 1 else ["key", "key.part", "scratch"])
    pack(source, tmp_path / "m.rbe", options(tmp_path))
    assert names(tmp_path) == ["m.rbe", "text.txt", "tiny"]
