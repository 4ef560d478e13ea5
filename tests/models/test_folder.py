"""Names of the model folder: which file each is, and what is said of one that is none."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rbe_edge.errors import ModelError, OptionError
from rbe_edge.models import folder
from rbe_edge.models.folder import Origin


def put(models: Path, *names: str) -> None:
    models.mkdir(parents=True, exist_ok=True)
    for name in names:
        (models / name).write_bytes(b"model")


@pytest.mark.parametrize(
    ("name", "file"),
    [("smollm2:4bit", "smollm2-4bit.rbe"), ("a.b-c:3.2bit", "a.b-c-3.2bit.rbe"), ("mine", "mine.rbe")],
)
def test_names_and_files(models: Path, name: str, file: str) -> None:
    assert folder.file_of(name) == models / file
    assert folder.name_of(models / file) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a:b", "a:4", "-x", "a b", "a\x1b", "a:4bit:4bit", "é"])
def test_what_is_no_name(models: Path, name: str) -> None:
    with pytest.raises(OptionError, match="no name"):
        folder.file_of(name)


def test_a_name_without_bits_is_the_only_one(models: Path) -> None:
    put(models, "smol-4bit.rbe", "mine.rbe", "notes.txt")
    for text in ("smol", "SMOL", "smol:4bit", "smol-4bit", "smol-4bit.rbe"):
        assert folder.find(text) == models / "smol-4bit.rbe", text
    assert folder.find("mine") == models / "mine.rbe"
    assert folder.find("smol:3bit") is None and folder.find("notes.txt") is None
    put(models, "smol-3bit.rbe")
    with pytest.raises(OptionError, match="smol is smol:3bit and smol:4bit; say which"):
        folder.find("smol")
    assert folder.find("smol:3bit") == models / "smol-3bit.rbe"
    put(models, "smol.rbe")
    assert folder.find("smol") == models / "smol.rbe"


def test_nothing_there(models: Path) -> None:
    assert folder.files() == [] and folder.find("smol") is None
    assert list(folder.of_source("x")) == []


def test_origins(models: Path) -> None:
    assert stat.S_IMODE(folder.made_directory().stat().st_mode) == 0o700
    put(models, "a-4bit.rbe", "b-4bit.rbe", "c-4bit.rbe")
    origin = Origin("/some/a.gguf", "stamp", 4.0, "quick")
    folder.set_origin(models / "a-4bit.rbe", origin)
    assert folder.origin_of(models / "a-4bit.rbe") == origin
    for damaged in (b"", b"{}", b"[1]", b'{"source": 1, "stamp": 2, "bits": "x", "effort": 3}', b"\xff"):
        (models / "b-4bit.origin.json").write_bytes(damaged)
        assert folder.origin_of(models / "b-4bit.rbe") is None
    assert list(folder.of_source("/some/a.gguf")) == [(models / "a-4bit.rbe", origin)]
    assert folder.free_name("a", 4, "/some/a.gguf") == "a:4bit"  # its own place
    assert folder.free_name("a", 4, "/other/a.gguf") == "a-2:4bit"
    assert folder.free_name("c", 4, "/some/a.gguf") == "c-2:4bit"  # of nobody knows what
    folder.remove(models / "a-4bit.rbe")
    assert not (models / "a-4bit.rbe").exists() and not (models / "a-4bit.origin.json").exists()
    with pytest.raises(ModelError, match="cannot be removed"):
        folder.remove(models / "a-4bit.rbe")


def test_a_copy_overwrites_nothing(models: Path) -> None:
    put(models, "a.rbe", "b.rbe")
    (models / "a.rbe").write_bytes(b"x" * 100_000)
    folder.copy(models / "a.rbe", models / "c.rbe")
    assert (models / "c.rbe").read_bytes() == b"x" * 100_000
    with pytest.raises(ModelError, match="exists already"):
        folder.copy(models / "a.rbe", models / "b.rbe")
    assert (models / "b.rbe").read_bytes() == b"model"
    with pytest.raises(ModelError, match="cannot be read"):
        folder.copy(models / "nothing.rbe", models / "d.rbe")
    assert not (models / "d.rbe").exists()
