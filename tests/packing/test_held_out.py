"""What a packing says that it cost: the divergence on text that did not calibrate it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing import held_out
from rbe_edge.packing.effort import EFFORTS, Effort
from rbe_edge.packing.held_out import HeldOut, built_in_text
from rbe_edge.packing.pack import PackOptions, pack

TEXT = "the cat and the dog sat on the mat. a hat and a rat ran to the cat. "


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A source, its copy with dense weights, and it at 3 bits."""
    directory = tmp_path_factory.mktemp("held")
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    pack(source, directory / "dense.rbe", PackOptions(bits=32))
    pack(source, directory / "packed.rbe", PackOptions(bits=3, calibrate="none"))
    return source, directory / "dense.rbe", directory / "packed.rbe"


def test_is_the_divergence_on_the_tokens_behind(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "_PIECE_BYTES", 4 * tiny_models.VOCABULARY * 7)
    monkeypatch.setattr(held_out, "N_TOKENS", 50)
    _, dense, packed = files
    with Model.open(dense) as source, Model.open(packed) as model:
        tokens = source.tokenize(TEXT * 20, special=False)
        behind = tokens[600:650]
        exact = divergence(model, source, [*behind, 0], window=51)
    found = HeldOut(dense, TEXT * 20, 600).of(packed)
    assert found.n == len(behind) == exact.n_scored and found.text == "the calibration text"
    assert found.kl == pytest.approx(exact.kl, rel=0.02) and 0 < found.error < found.kl
    assert HeldOut(dense, TEXT * 20, 600).of(dense).kl < 1e-4


@pytest.mark.parametrize("effort", EFFORTS.values(), ids=lambda effort: effort.name)
def test_what_calibrates_lies_before_it(effort: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbered(model: Path, text: str, n_tokens: int, window: int) -> list[list[int]]:
        return [list(range(start, start + window)) for start in range(0, n_tokens, window)]

    monkeypatch.setattr("rbe_edge.packing.effort.read_windows", numbered)
    seen, unseen = effort.windows(Path("model"), "text")
    assert 0 < sum(map(len, seen)) <= effort.tokens and max(map(max, [*seen, *unseen])) < effort.reach
    assert unseen and not any(window in seen for window in unseen)


def test_a_text_that_calibration_used_up(files: tuple[Path, Path, Path]) -> None:
    _, dense, packed = files
    found = HeldOut(dense, TEXT, 10**6).of(packed)
    with Model.open(dense) as source:
        assert found.n == min(held_out.N_TOKENS, source.info.context)
        built_in = source.tokenize(built_in_text(), special=False)
        kept = Path(held_out.__file__).with_name("calibration.txt").read_text(encoding="utf-8")
    assert found.text == "a built-in text" and len(built_in) > held_out.N_TOKENS
    lines = [line for line in built_in_text().splitlines() if len(line) > 40]
    assert lines and not any(line in kept for line in lines), "none of it calibrates"


def test_memory_is_bounded(files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_KEPT_BYTES", 2 * tiny_models.VOCABULARY * 5)
    assert HeldOut(files[1], TEXT * 20, 0).of(files[2]).n == 5


def test_the_last_line(files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text(TEXT * 50)
    command = ["pack", str(files[0]), "--bits", "3", "--calibrate", str(tmp_path / "text.txt")]
    assert main([*command, "-o", str(tmp_path / "a.rbe")]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "bits per weight, KL 0." in line and "to the source on 64 tokens of a built-in text, " in line
    assert main([*command, "-o", str(tmp_path / "b.rbe"), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["held_out"]["n"] == 64 and np.isfinite(known["held_out"]["kl"])
    assert (tmp_path / "a.rbe").read_bytes() == (tmp_path / "b.rbe").read_bytes()
    assert main(["pack", str(files[0]), "--bits", "3", "--calibrate", "none", "-o", str(tmp_path / "c.rbe")]) == 0
    assert "relative squared error" in capsys.readouterr().out
