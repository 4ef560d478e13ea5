"""tools/ternary_speed.py: the models that it fills run, and are as large as their bits say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbe_edge import Model
from rbe_edge.bench.shapes import Shape
from tools import ternary_speed

TINY = Shape("tiny", "none", 2, 256, 4, 2, 64, 512, 512)


@pytest.mark.parametrize(("peer", "kind"), [("TQ1_0", "ternary"), ("Q1_0", "binary")])
@pytest.mark.parametrize("alike", [False, True])
def test_models(tmp_path: Path, peer: str, kind: str, alike: bool) -> None:
    path = tmp_path / "m.rbe"
    ternary_speed.write_model(TINY, ternary_speed.code_of(peer), path, alike=alike)
    with Model.open(path) as model:
        kinds = {name: tensor.kind for name, tensor in model.tensors.items()}
    assert kinds["layers.0.attention.q"] == kinds["layers.1.feed_forward.down"] == kind
    assert kinds["embedding"] == (kind if alike else "trellis")
    assert len(ternary_speed.Ours(path, 1).run(3)) == 3
