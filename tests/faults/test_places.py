"""Places that go, and commands on a disk that is full: one line, exit code 1; and what fails keeps no descriptor and no
memory."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from operations import Drive, copy_golden
from test_writes import check_files

from rbe_edge import Model
from rbe_edge.errors import ModelError, PackError, RbeError, StateError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.store.conversations import ConversationStore, StoredMessage, StoreError

N_FAILURES = 200
SLACK_BYTES = 8 << 20  # of memory that the allocators of Python and of the system keep


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """A directory that was removed."""
    place = tmp_path / "gone"
    place.mkdir()
    os.rmdir(place)
    return place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    copy_golden("v1/half.rbe", tmp_path / "m.rbe")
    return tmp_path / "m.rbe"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")


def test_a_session_whose_directory_is_gone(model: Path, gone: Path) -> None:
    with Model.open(model) as opened, opened.session(context=16, threads=1) as session:
        session.prefill([1, 2])
        with pytest.raises(StateError, match=r"gone/state: cannot be written: No such file or directory; check"):
            session.save(gone / "state")
        assert session.tokens == (1, 2) and not gone.exists()


def test_a_packing_whose_directory_is_gone(source: Path, gone: Path) -> None:
    with pytest.raises(PackError, match="gone does not exist; make it first"):
        pack(source, gone / "m.rbe", PackOptions(bits=32))
    assert not gone.exists()


def test_a_store_whose_directory_goes_meanwhile(tmp_path: Path) -> None:
    """What is open goes on; the next start begins anew."""
    place = tmp_path / "data"
    place.mkdir()
    store = ConversationStore(place / "chats.sqlite3")
    number = store.new("first")
    shutil.rmtree(place)
    try:
        store.rename(number, "second")
        assert store.load(number).title == "second"
    except StoreError as error:
        assert "chats.sqlite3" in str(error) and "\n" not in str(error)
    store.close()
    with ConversationStore(place / "chats.sqlite3") as again:
        assert again.list() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "rbe-test", place]
    may = os.geteuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root mounts a file system, where it is let")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full(model: Path, small_disk: Path) -> None:
    state, filler = small_disk / "state", small_disk / "filler"
    with Model.open(model) as opened, opened.session(context=32, threads=1) as session:
        session.prefill([1, 2])
        session.save(state)
        with ConversationStore(small_disk / "chats.sqlite3") as store:
            number = store.new("first")
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while file.write(bytes(4096)):
                    pass
            before = state.read_bytes()
            session.prefill(list(range(3, 20)))
            with pytest.raises(StateError, match=r"state: cannot be written: No space left on device; make room"):
                session.save(state)
            with pytest.raises(StoreError, match="the disk is full, so this was not saved"):
                store.write(number, 0, [StoredMessage("user", "much " * 20000)])
            names = {path.name for path in small_disk.iterdir()}
            assert state.read_bytes() == before and names <= {"state", "filler", *map("chats.sqlite3".__add__, ENDINGS)}
            assert store.load(number).messages == ()
            filler.unlink()
            session.save(state)
            store.write(number, 0, [StoredMessage("user", "one")])
        assert state.read_bytes() != before


ENDINGS = ("", "-wal", "-shm")

COMMANDS: dict[str, list[str]] = {
    "pack": ["pack", "source", "-o", "out/new.rbe", "--bits", "32"],
    "pack, over a file": ["pack", "source", "-o", "out/old.rbe", "--bits", "32", "--force"],
    "self": ["self", "m.rbe", "--program", "rbe", "-o", "out/both"],
}


def failing(shim: Path, folder: Path, number: int, error: int) -> dict[str, str]:
    fault = {"RBE_FAULT_BELOW": str(folder), "RBE_FAULT_AT": str(number), "RBE_FAULT_HOW": str(error)}
    return {**os.environ, **fault, "LD_PRELOAD": str(shim), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize(("error", "said"), [(28, "No space left on device"), (30, "Read-only file system")])
@pytest.mark.parametrize("name", COMMANDS)
def test_commands(
    shim: Path, program: Path, model: Path, source: Path, tmp_path: Path, name: str, error: int, said: str, number: int
) -> None:
    shutil.copy(program, tmp_path / "rbe")
    (tmp_path / "out").mkdir()
    copy_golden("v1/bits2.rbe", tmp_path / "out" / "old.rbe")
    before = (tmp_path / "out" / "old.rbe").read_bytes()
    command = [sys.executable, "-m", "rbe_edge", *COMMANDS[name]]
    environment = failing(shim, tmp_path / "out", number, error)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=100)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and line.startswith("rbe: ") and said in line and "out/" in line, done
    assert "Traceback" not in done.stderr and ";" in line
    assert os.listdir(tmp_path / "out") == ["old.rbe"] and (tmp_path / "out" / "old.rbe").read_bytes() == before


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_c_program(shim: Path, program: Path, model: Path, tmp_path: Path, number: int) -> None:
    (tmp_path / "out").mkdir()
    command = [program, "self", model, "-o", "out/both"]
    environment = failing(shim, tmp_path / "out", number, 28)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=100)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert done.stderr == "rbe: out/both: cannot be written: No space left on device; make room or give another place\n"
    assert os.listdir(tmp_path / "out") == []


def test_a_program_that_carries_its_model(drive: Drive, program: Path) -> None:
    """As `rbe self` makes it; here because the file's tests run where the program was built."""
    assert program.is_file()
    check_files(drive, "carry")


# ---- what fails keeps nothing ----


def open_damaged(model: Path, source: Path) -> None:
    with Model.open(model.with_name("damaged.rbe")) as opened:
        opened.verify()


def open_missing(model: Path, source: Path) -> None:
    Model.open(model.with_name("missing.rbe"))


def restore_damaged(model: Path, source: Path) -> None:
    with Model.open(model) as opened, opened.session(context=16, threads=1) as session:
        session.restore(model)


def pack_damaged(model: Path, source: Path) -> None:
    pack(source, model.with_name("out.rbe"), PackOptions(bits=32))


def open_store(model: Path, source: Path) -> None:
    ConversationStore(model)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("fail", [open_damaged, open_missing, restore_damaged, pack_damaged, open_store])
def test_failures_keep_nothing(model: Path, source: Path, fail: Callable[[Path, Path], None]) -> None:
    data = bytearray(model.read_bytes())
    data[next(at for at in range(len(data) // 2, len(data)) if data[at])] ^= 1
    model.with_name("damaged.rbe").write_bytes(data)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    def failures(n: int) -> None:
        for _ in range(n):
            with pytest.raises((RbeError, ModelError)):
                fail(model, source)
        gc.collect()

    def grown() -> int:
        before = resident_bytes()
        failures(N_FAILURES)
        return resident_bytes() - before

    failures(20)  # what is taken once
    descriptors, names = os.listdir("/proc/self/fd"), sorted(os.listdir(model.parent))
    assert any(grown() < SLACK_BYTES for _ in range(3))  # other parts of this process may take memory, once
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    assert sorted(os.listdir(model.parent)) == names


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
