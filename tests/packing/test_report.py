"""The report of a packing: what it says, and where it cannot be put."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny_models

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.packing.pack import PackOptions, pack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")


def test_without_matplotlib_there_is_a_table(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    options = PackOptions(bits=4, calibrate="none", report=tmp_path / "why")
    report = pack(source, tmp_path / "m.rbe", options)
    text = (tmp_path / "why.md").read_text()
    for tensor in report.tensors:
        if tensor.planes:
            planes = "+".join(map(str, tensor.planes))
            assert f"| {tensor.name} | {tensor.rows} x {tensor.cols} | {planes} |" in text
    assert "tendencies" in text and not (tmp_path / "why.png").exists()
    with pytest.raises(MissingExtra, match="plot"):
        pack(source, tmp_path / "n.rbe", PackOptions(calibrate="none", report=tmp_path / "why.png"))
    assert not (tmp_path / "n.rbe").exists()


def test_no_place_for_it(source: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no place for a report"):
        pack(source, tmp_path / "m.rbe", PackOptions(calibrate="none", report=tmp_path / "none" / "why"))
    assert not (tmp_path / "m.rbe").exists()
