"""A context that several efforts have written, beside transformers: its cache goes from one model to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from parity_cases import TOLERANCE

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import reference  # noqa: E402  (needs both)

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_modes_that_change_while_it_is_read(tmp_path: Path, name: str) -> None:
    """The model without a step is one whose last matrix of that step is zero."""
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    pack(source, tmp_path / "model.rbe", PackOptions(bits=32))
    whole, less = reference.load(source), reference.load(source)
    with torch.no_grad():
        less.model.layers[0].self_attn.o_proj.weight.zero_()
        less.model.layers[1].mlp.down_proj.weight.zero_()
    saver = Effort((SKIP, 0), (0, SKIP))
    cache = None
    with Model.open(tmp_path / "model.rbe") as model, model.session(kv="f32") as session:
        for number, token in enumerate(TOKENS):
            saves = number in (0, 1, 2, 6, 7)
            with torch.no_grad():
                found = (less if saves else whole)(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache, expected = found.past_key_values, found.logits[0, -1].numpy()
            session.set_effort(saver if saves else None)
            session.prefill([token])
            assert np.abs(session.logits - expected).max() < TOLERANCE, number
