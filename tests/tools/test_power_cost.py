"""The measurement of what sensors cost: trees are unpacked, figures are read, bounds are held. No time is asserted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import power_cost

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell stands in for the program")


def _program(tmp_path: Path, line: str) -> Path:
    """Prints the line where it was given a machine with a battery or a board, or none."""
    program = tmp_path / "bench_power"
    program.write_text(f'#!/bin/sh\n[ -z "$1" ] || [ -d "$1/sys/class" ] || exit 3\n{line}\n', encoding="ascii")
    program.chmod(0o700)
    return program


def test_costs_of_every_machine(tmp_path: Path) -> None:
    found = power_cost.costs(_program(tmp_path, "echo 1.5e-07 2.12e-04 9e-05"))
    assert {"laptop_energy", "pi5", "phone", "this machine"} <= found.keys()
    assert set(found.values()) == {(1.5e-07, 2.12e-04, 9e-05)}
    assert "| pi5 | 150 ns | 212 us | 0.021% | 90 us |" in power_cost.table(found)


def test_too_much_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["power_cost.py", str(_program(tmp_path, "echo 1.5e-07 2.12e-02 9e-05"))])
    assert power_cost.main() == 1 and "not so on" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["power_cost.py", str(_program(tmp_path, "echo 1.5e-07 2.12e-04 9e-05"))])
    assert power_cost.main() == 0


def test_failures_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no sensors"):
        power_cost.measure(_program(tmp_path, "echo no sensors >&2; exit 1"), "")
    monkeypatch.setattr("sys.argv", ["power_cost.py", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match="is not built"):
        power_cost.main()
