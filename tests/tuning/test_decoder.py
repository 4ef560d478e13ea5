"""The decoder in PyTorch against the engine, for every architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.tuning.decoder import Decoder

torch = pytest.importorskip("torch")

TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(24)]  # three times the windows of the tiny models
CASES = [*((name, tiny_models.CONTEXT) for name in tiny_models.MODELS), ("phi3_longrope", 16)]


@pytest.mark.parametrize(("name", "context"), CASES)
def test_logits_are_those_of_the_engine(name: str, context: int, tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / name)
    tokens = TOKENS[:context]
    with Model.open(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path) as model:
        with model.session(kv="f32", context=context) as session:
            expected = session.score(tokens, logits=True).logits
        with torch.no_grad():
            found = Decoder(model, context).logits(torch.tensor([tokens, tokens[::-1]]))
    assert expected is not None
    assert np.abs(found[0].numpy() - expected).max() < 1e-3
