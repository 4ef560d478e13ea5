"""One file with program and model."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from rbe_edge.building.bundle import write_bundle
from rbe_edge.building.targets import find


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path, Path]:
    program, model, licence = tmp_path / "program", tmp_path / "smol 4.rbe", tmp_path / "LICENSE"
    program.write_bytes(b"\x7fELF program")
    model.write_bytes(bytes(range(256)) * 64)
    licence.write_text("MIT")
    return program, model, licence


def test_it_holds_what_a_device_needs(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path = write_bundle(find("rpi5"), *parts, tmp_path)
    assert path.name == "rbe-rpi5-smol 4.tar.gz"
    with tarfile.open(path) as archive:
        entries = {entry.name.removeprefix("rbe-rpi5-smol 4/"): entry for entry in archive}
        assert set(entries) == {"README.txt", "LICENSE", "rbe", "smol 4.rbe"}
        assert entries["rbe"].mode == 0o755 and entries["smol 4.rbe"].mode == 0o644
        content = {name: archive.extractfile(entry).read() for name, entry in entries.items()}  # type: ignore[union-attr]
    assert content["smol 4.rbe"] == parts[1].read_bytes() and content["rbe"] == parts[0].read_bytes()
    readme = content["README.txt"].decode()
    assert readme.count("\n") == 3 and "./rbe chat 'smol 4.rbe'" in readme


def test_the_same_files_give_the_same_bytes(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first = write_bundle(find("linux-arm64"), *parts, tmp_path).read_bytes()
    parts[1].touch()
    assert write_bundle(find("linux-arm64"), *parts, tmp_path).read_bytes() == first


def test_of_windows_the_program_is_named_so(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with tarfile.open(write_bundle(find("windows-x86_64"), *parts, tmp_path)) as archive:
        assert "rbe-windows-x86_64-smol 4/rbe.exe" in archive.getnames()


def test_a_model_that_is_gone(parts: tuple[Path, Path, Path], tmp_path: Path) -> None:
    parts[1].unlink()
    with pytest.raises(FileNotFoundError):
        write_bundle(find("rpi5"), *parts, tmp_path)
