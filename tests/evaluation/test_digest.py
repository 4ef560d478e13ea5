"""The digest that `rbe eval` prints."""

from __future__ import annotations

from pathlib import Path

import tiny_models

from rbe_edge import Model, _native
from rbe_edge.evaluation.digest import logits_digest
from rbe_edge.packing.pack import PackOptions, pack

SETS = [name for name, available in _native.kernel_sets().items() if available]
TOKENS = [(i * i * 7 + 3 * i + 1) % 256 for i in range(40)]


def test_the_digest_tells_files_apart_and_not_sets(tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    paths = [pack(source, tmp_path / f"{bits}.rbe", PackOptions(bits=bits)).path for bits in (16, 32)]
    digests = []
    for path in paths:
        for kernels in SETS:
            with Model.open(path, kernel_set=kernels) as model:
                digests.append(logits_digest(model, TOKENS, threads=1))
    assert len(set(digests[: len(SETS)])) == len(set(digests[len(SETS) :])) == 1
    assert digests[0] != digests[-1] and len(digests[0]) == 16
    with Model.open(paths[0]) as model:
        assert logits_digest(model, TOKENS, threads=3) == digests[0]
        assert logits_digest(model, [*TOKENS[:-1], 3]) == digests[0]  # nothing follows the last one
        assert logits_digest(model, [9, *TOKENS[1:]]) != digests[0]
