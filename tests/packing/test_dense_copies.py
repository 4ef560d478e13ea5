"""A packed model computes what its weights, written out in fp32, compute: for layers of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from fixed_planes import fixed_planes
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import Model
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.tuning.dense_model import write_dense

TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(48)]
OTHERS = ("granite", "exaone", "ernie4_5", "minicpm", "phi4_mini")


@pytest.mark.parametrize("name", [*WITH_OPTIONS, *OTHERS])
def test_a_dense_copy_computes_the_same(tmp_path: Path, name: str) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    with fixed_planes((4,), (4, 2)):
        path = pack(source, tmp_path / "packed.rbe", PackOptions(bits=4, calibrate="none")).path
    with Model.open(path) as model:
        copy = write_dense(model, tmp_path / "dense.rbe", lambda done, total: None)
        with Model.open(copy.path) as dense, Model.open(_exact(source, tmp_path)) as exact:
            ours = divergence(model, dense, TOKENS, window=len(TOKENS))  # activations are rounded
            rounded = divergence(model, exact, TOKENS, window=len(TOKENS))  # and so are weights
            assert ours.kl < rounded.kl / 10


def _exact(source: Path, directory: Path) -> Path:
    return pack(source, directory / "exact.rbe", PackOptions(bits=32)).path
