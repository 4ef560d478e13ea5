"""The one command that makes the demo model runs the steps in order, each stage on its own dialogues."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.demo import build
from tools.demo.stages import STAGES


def test_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    steps: list[list[str]] = []
    monkeypatch.setattr(build, "run", lambda *command: steps.append([str(part) for part in command]))
    monkeypatch.setattr(sys, "argv", ["build", "--work", str(tmp_path)])
    build.main()
    modules = [next(part for part in step if part in ("pack",) or part.startswith("tools.demo.")) for step in steps]
    assert modules == ["tools.demo.generate", "tools.demo.train"] * len(STAGES) + ["pack", "tools.demo.evaluate"]
    trained = [step for step in steps if "tools.demo.train" in step]
    assert ["--resume" in step for step in trained] == [number > 0 for number in range(len(STAGES))]
    assert len({step[step.index("tools.demo.train") + 1] for step in trained}) == len(STAGES)
    packed = steps[-2]
    assert packed[packed.index("pack") + 1] == str(tmp_path / "pebble")
    assert packed[packed.index("-o") + 1] == steps[-1][steps[-1].index("tools.demo.evaluate") + 1]
