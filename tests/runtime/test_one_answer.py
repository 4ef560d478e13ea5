"""The same bits from every kernel set of this machine (docs/engine.md, "One answer on every machine"). Machines are
compared by native/tests/test_answers.c."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import GenerationOptions, Model, SamplingOptions, _native
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import demo_path

SETS = [name for name, available in _native.kernel_sets().items() if available]
TOKENS = [(i * i * 7 + 3 * i + 1) % 256 for i in range(40)]


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_logits_of_every_tiny_model(tmp_path: Path, name: str) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    with fixed_planes((4,), (2, 2)):
        path = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none")).path
    found = []
    for kernels in SETS:
        with Model.open(path, kernel_set=kernels) as model, model.session(context=len(TOKENS)) as session:
            logits = session.score(TOKENS, logits=True).logits
            assert logits is not None
            found.append(logits)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_text_that_is_drawn() -> None:
    options = GenerationOptions(max_tokens=40, sampling=SamplingOptions(temperature=1.0, top_p=0.95, seed=7))
    texts = set()
    for kernels in SETS:
        with Model.open(demo_path(), kernel_set=kernels) as model, model.session(context=256) as session:
            texts.add("".join(piece.text for piece in session.generate("Why is the sky blue?", options)))
    assert len(texts) == 1
