"""The program that measures what constrained answers cover."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import constraint_coverage


def test_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, plain), *(chr(256 + index) for index in range(256 - len(plain)))]
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps({letter: token for token, letter in enumerate(letters)}))
    folder = tmp_path / "cases"
    folder.mkdir()
    tests = [{"data": "b", "valid": True}, {"data": "[", "valid": True}, {"data": 1, "valid": False}]
    pattern = {"schema": {"type": "string", "pattern": "^[[b]$"}, "tests": tests}  # which llguidance alone refuses
    overlap = {
        "schema": {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
        "tests": [{"data": 1, "valid": True}, {"data": 3, "valid": False}],
    }
    (folder / "one.json").write_text(json.dumps([pattern, overlap]))
    (folder / "two.json").write_text(json.dumps({"schema": {"if": {}, "then": {}}, "tests": []}))
    monkeypatch.setattr(sys, "argv", ["constraint_coverage", str(vocabulary), str(folder), "--timed", "10"])
    constraint_coverage.main()
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in capsys.readouterr().out.splitlines()]
    assert ["cases", "rbe_edge", "2 of 3", "3 of 3", "1 of 2"] in rows
    assert ["cases", "llguidance", "0 of 3", "0 of 3", "0 of 0"] in rows
