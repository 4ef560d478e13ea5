"""tools/like_table.py: a comparison becomes an entry of the table of `rbe pack --like`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import like_table


def test_a_comparison_becomes_an_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"engine": "llama.cpp", "name": "Q4_1", "bits_per_weight": 5.0, "kl": 1e-6, "own": True},
        {"engine": "llama.cpp", "name": "Q4_0", "bits_per_weight": 4.7, "kl": 0.1, "own": False},
        {"engine": "rbe", "name": "4", "bits_per_weight": 4.0, "kl": 0.1, "own": False},
    ]
    (tmp_path / "comparison.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "table.json").write_text(json.dumps({"measured": [{"model": "other"}, {"model": "m"}]}))
    command = [
        str(tmp_path / "comparison.json"),
        "--model",
        "m",
        "--text",
        "t",
        "--table",
        str(tmp_path / "table.json"),
    ]
    assert like_table.main([*command, "--date", "2026-01-02"]) == 0
    assert capsys.readouterr().out.split() == ["Q4_0", "4.70", "4.00"]
    table = json.loads((tmp_path / "table.json").read_text())
    entry = {"model": "m", "date": "2026-01-02", "text": "t", "rbe": [[4.0, 0.1]], "types": {"Q4_0": [4.7, 0.1]}}
    assert table["measured"] == [{"model": "other"}, entry]
    (tmp_path / "comparison.json").write_text(json.dumps({"rows": rows[:2]}))
    assert like_table.main(command) == 1 and "both sides" in capsys.readouterr().err
