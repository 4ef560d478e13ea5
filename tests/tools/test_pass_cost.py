"""tools/pass_cost.py: every size is measured. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbe_edge.bench.shapes import Shape, write_model
from tools import pass_cost


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pass") / "m.rbe"
    write_model(Shape("tiny", "none", 1, 64, 2, 1, 32, 128, 256), (2,), made)
    return made


def test_each_size(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pass_cost.main([str(path), "--tokens", "2,40", "--passes", "3", "--kernels", "scalar", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["2", "40"] and all(cost > 0 for cost in found.values())


def test_as_a_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pass_cost.main([str(path), "--tokens", "3", "--passes", "1"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["3", "tokens"]


def test_sizes_that_are_none(path: Path) -> None:
    with pytest.raises(SystemExit):
        pass_cost.main([str(path), "--tokens", "1"])
