"""The files of saved states: few, and none that is needed no more."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbe_edge import Model
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import replace_parts
from rbe_edge.store.states import StateFiles


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "states").mkdir()
    return tmp_path / "states"


@pytest.fixture
def being_written(directory: Path) -> Iterator[Path]:
    """As the library has it while it saves."""
    path = directory / "3.state.aB3xYz"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


def left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_states_are_few(tmp_path: Path) -> None:
    states = StateFiles(tmp_path / "states")
    for number in range(12):
        path = states.path(number)
        assert path is not None
        path.write_bytes(b"state")
        os.utime(path, (number, number))
    states.trim()
    assert left(tmp_path / "states") == {f"{number}.state" for number in range(4, 12)}
    states.forget(11)
    states.forget(11)
    assert not (tmp_path / "states" / "11.state").exists()
    assert states.path(None) is None and StateFiles(None).path(3) is None


def test_states_are_small(directory: Path) -> None:
    for number in range(4):
        with (directory / f"{number}.state").open("wb") as file:
            file.truncate(400 << 20)  # without blocks on the disk
        os.utime(directory / f"{number}.state", (number, number))
    StateFiles(directory).trim()
    assert left(directory) == {"2.state", "3.state"}


def test_what_killed_saves_left_goes(directory: Path, being_written: Path) -> None:
    for name in ("1.state.000000", "1.state.zzzzzz", "12.state.AbCdEf", "2.state.......", "2.state"):
        (directory / name).write_bytes(b"words")
    states = StateFiles(directory)
    states.forget(1)
    assert left(directory) == {"12.state.AbCdEf", "2.state.......", "2.state", being_written.name}
    states.trim()
    assert left(directory) == {"2.state", being_written.name}
    states.forget(3)  # a conversation that is deleted while its state is written
    assert left(directory) == {"2.state"}


def test_a_start_deletes_what_belongs_to_no_conversation(directory: Path, being_written: Path) -> None:
    for name in ("1.state", "2.state", "4.state.AbCdEf", "5.state"):
        (directory / name).write_bytes(b"words")
        (directory / name).chmod(0o644)
    StateFiles(directory).sweep({1, 3, 4, 9})
    assert left(directory) == {"1.state", being_written.name}
    assert (directory / "1.state").stat().st_mode & 0o777 == 0o600


def test_other_files_and_links_stay(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    names = {"notes.txt", "1.state.backup2", "x1.state", "1.state~"}
    for name in names:
        (directory / name).write_text("mine")
    (directory / "7.state.linked").symlink_to(tmp_path / "precious")
    os.mkfifo(directory / "8.state.piped0")  # must not be waited for
    states = StateFiles(directory)
    states.trim()
    states.sweep(())
    states.forget(1)
    assert names <= left(directory) and (tmp_path / "precious").read_text() == "precious"


def test_no_directory(tmp_path: Path) -> None:
    states = StateFiles(tmp_path / "nowhere")
    states.trim()
    states.sweep(())
    states.forget(1)
    (tmp_path / "file").write_text("a file")
    assert StateFiles(tmp_path / "file" / "states").path(1) is None


def test_a_kept_state_goes_on_after_a_part_was_added(tmp_path: Path, tiny_model: Path) -> None:
    """As after `rbe eval --power all` between two evenings of one conversation."""
    model_file = tmp_path / "model.rbe"
    model_file.write_bytes(tiny_model.read_bytes())
    states = StateFiles(tmp_path / "states")
    path = states.path(7)
    assert path is not None
    with Model.open(model_file) as model, model.session() as session:
        session.prefill([1, 2, 3])
        session.save(path)
    replace_parts(model_file, [Part("added.later", 1, b"data")])
    states.sweep([7])
    with Model.open(model_file) as model, model.session() as session:
        assert "added.later" in model.parts and session.restore(path) == [1, 2, 3]
