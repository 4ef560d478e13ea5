"""The writer: what it writes is the format, and nothing half-written is ever left."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index_reader import read_index

from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.format.writer import CodebookEntry, PackWriter, TensorEntry

BOOK = CodebookEntry(4, tuple(range(-8, 8)), tuple(range(8, -8, -1)))
DENSE = TensorEntry("a", writer.KIND_FP32, 3, 5, 60)
TRELLIS = TensorEntry("b.ü", writer.KIND_TRELLIS, 8, 64, 130, seed=2**63 + 7, rotation_block=64, codebooks=(0, 0))
VALUES = np.arange(15, dtype=np.float32).reshape(3, 5)


def write(path: Path, force: bool = False, before_commit: Callable[[], None] = lambda: None) -> None:
    metadata = {"n": 2**63, "f": 0.5, "s": "grüße\n", "empty": "", "list": (0, 5), "none": ()}
    with PackWriter(path, metadata, [BOOK], {"tokenizer": b"blob"}, [DENSE, TRELLIS], force) as file:
        file.write_tensor([VALUES], 0.0)
        file.write_tensor([b"x" * 64, memoryview(b"y" * 66)], 0.25, tensor_scale=2.0)
        before_commit()
        file.commit()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_writes_the_format(tmp_path: Path) -> None:
    write(tmp_path / "m.rbe")
    index = read_index(tmp_path / "m.rbe")
    assert index.metadata == {"n": 2**63, "f": 0.5, "s": "grüße\n", "empty": "", "list": (0, 5), "none": ()}
    assert index.codebooks == [(4, BOOK.t1, BOOK.t2)]
    assert index.blobs == {"tokenizer": b"blob"}
    assert list(index.tensors) == ["a", "b.ü"]
    assert index.tensor_data("a") == VALUES.tobytes()
    assert index.tensor_data("b.ü") == b"x" * 64 + b"y" * 66
    trellis = index.tensors["b.ü"]
    assert (trellis.rotation, trellis.rotation_block, trellis.seed) == (1, 64, 2**63 + 7)
    assert (trellis.tensor_scale, trellis.error, trellis.flags, trellis.codebooks) == (2.0, 0.25, 0, (0, 0))
    assert index.tensors["a"].error == 0.0
    assert names(tmp_path) == ["m.rbe"]


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    target = tmp_path / "m.rbe"
    target.write_bytes(b"old")
    with pytest.raises(PackError, match="exists already; give --force"):
        write(target)
    assert target.read_bytes() == b"old"
    write(target, force=True)
    assert read_index(target).metadata["f"] == 0.5


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "m.rbe"
    with pytest.raises(PackError, match="exists already"):
        write(target, before_commit=lambda: target.write_bytes(b"another's") and None)
    assert target.read_bytes() == b"another's"
    assert names(tmp_path) == ["m.rbe"]


def test_the_target_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "m.rbe"
    target.write_bytes(b"old")
    seen = []
    write(target, force=True, before_commit=lambda: seen.append(target.read_bytes()))
    assert seen == [b"old"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_nothing_is_left_after_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "m.rbe"

    def fail() -> None:
        assert names(tmp_path) == [".m.rbe.part"]
        raise error

    with pytest.raises(error):
        write(target, before_commit=fail)
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="is a directory"):
        write(tmp_path)
    with pytest.raises(PackError, match="does not exist; make it first"):
        write(tmp_path / "nowhere" / "m.rbe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PackError, match="cannot be written"):
        write(tmp_path / "m.rbe")


def test_a_left_over_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".m.rbe.part").write_bytes(b"left by a killed packer" * 1000)
    write(tmp_path / "m.rbe")
    read_index(tmp_path / "m.rbe")
    assert names(tmp_path) == ["m.rbe"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    def second() -> None:
        with pytest.raises(PackError, match="being written by another process"):
            write(tmp_path / "m.rbe")

    write(tmp_path / "m.rbe", before_commit=second)
    read_index(tmp_path / "m.rbe")


def test_the_disk_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=200))
    with pytest.raises(PackError, match=r"it needs [\d,]+ bytes, 200 are free"):
        write(tmp_path / "m.rbe")
    assert names(tmp_path) == []


def test_the_disk_fills_up_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(PackError, match="no room to write it"):
        write(tmp_path / "m.rbe")
    assert names(tmp_path) == []


def _script(body: str) -> list[str]:
    """A program that has this module's names and what `body` does with them."""
    folders = [str(folder) for folder in Path(__file__).parents[:2]]  # of this file, and of what it imports
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {folders}\n{body}"]


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    body = """
import resource, test_writer, pathlib
from rbe_edge.errors import PackError
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    test_writer.write(pathlib.Path("m.rbe"))
except PackError as error:
    print(error)
"""
    done = subprocess.run(_script(body), cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)
    assert "no room to write it" in done.stdout, done.stderr
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_no_file(tmp_path: Path) -> None:
    body = """
import os, signal, test_writer, pathlib
test_writer.write(pathlib.Path("m.rbe"), before_commit=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run(_script(body), cwd=tmp_path, env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "m.rbe" not in names(tmp_path)
    write(tmp_path / "m.rbe")
    assert names(tmp_path) == ["m.rbe"]
