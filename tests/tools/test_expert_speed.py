"""tools/expert_speed.py: what its models are. No speed is asserted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbe_edge.bench import shapes
from rbe_edge.runtime.model import Model
from tools import expert_speed


def test_the_dense_model_has_the_weights_that_a_token_uses(tmp_path: Path) -> None:
    found = {}
    for name, shape in (("dense", expert_speed.dense(1)), ("mixture", expert_speed.mixture(1))):
        shapes.write_model(shape, expert_speed.PLANES, tmp_path / name)
        with Model.open(tmp_path / name) as model:
            found[name] = model.read_bytes(), model.info.file_bytes
    routers = 4 * expert_speed.EXPERTS * 1024
    assert found["mixture"][0] - routers == pytest.approx(found["dense"][0], rel=0.01)
    assert found["mixture"][1] > 2 * found["dense"][1]


def test_the_router_is_skewed_as_it_says(tmp_path: Path) -> None:
    even, skewed = expert_speed.mixture(2), replace(
        expert_speed.mixture(2), advantage=expert_speed.advantage_of(expert_speed.DRAWN_SKEW)
    )  # fmt: skip
    shares = []
    for shape in (even, skewed):
        shapes.write_model(shape, expert_speed.PLANES, tmp_path / "m.rbe")
        with Model.open(tmp_path / "m.rbe") as model:
            shares.append(expert_speed.hot_share(model))
    assert shares[0] == pytest.approx(0.25, abs=0.1) and shares[1] == pytest.approx(expert_speed.SKEW, abs=0.1)


def test_it_prints_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expert_speed.measure_active(tmp_path, layers=1, rounds=1)
    expert_speed.measure_limit(tmp_path, layers=2, rounds=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["dense", "2", "4", "8"]
    assert "share" in lines[5] and "kept" in lines[6]
