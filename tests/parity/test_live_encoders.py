"""Encoders in the engine against transformers itself, where torch and transformers are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from encoder_cases import TOLERANCE, ours
from test_encoders import packed
from tiny_encoders import ENCODERS

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import encoder_reference  # noqa: E402  (needs both)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_transformers_gives(tmp_path: Path, name: str) -> None:
    encoder = ENCODERS[name]
    expected = encoder_reference.outputs(encoder, tiny_encoders.write(encoder, tmp_path / "reference"))
    found = ours(packed(encoder, tmp_path), encoder)
    assert np.abs(found.hidden - expected.hidden).max() < TOLERANCE
    assert found.words.shape == expected.words.shape and found.pooled.shape == expected.pooled.shape
    assert not found.words.size or np.abs(found.words - expected.words).max() < TOLERANCE
    assert not found.pooled.size or np.abs(found.pooled - expected.pooled).max() < TOLERANCE


@pytest.mark.parametrize("name", [name for name in ENCODERS if not name.startswith("sentence")])
def test_configurations_as_transformers_writes_them(tmp_path: Path, name: str) -> None:
    """A model that the installed transformers has saved means the same."""
    old = tiny_encoders.write(ENCODERS[name], tmp_path / "old")
    model = getattr(transformers, ENCODERS[name].config["architectures"][0]).from_pretrained(old, dtype=torch.float32)
    model.save_pretrained(tmp_path / "new")
    before, after = plan_model(open_source(old)), plan_model(open_source(tmp_path / "new"))
    assert after.metadata == before.metadata
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for one, other in zip(after.tensors, before.tensors, strict=True):
        np.testing.assert_array_equal(one.read(), other.read())


def test_configuration_keys_are_known_to_transformers() -> None:
    """A key of a tiny configuration that transformers does not know would be compared with nothing."""
    former = {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"}
    for encoder in ENCODERS.values():
        config: dict[str, Any] = json.loads(json.dumps(encoder.config))
        known = transformers.AutoConfig.for_model(**config).to_dict().keys()
        assert config.keys() <= known | former, encoder.name


def test_minilm(tmp_path: Path, minilm: Path, data_dir: Path) -> None:
    """Its vectors are those of transformers with the mean of all tokens, scaled to length 1."""
    lines = (data_dir / "sts-b" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    texts = [text for line in lines[::10] for text in line.split("\t")[-3:-1]]
    path = pack(minilm, tmp_path / "minilm.rbe", PackOptions(bits=32)).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    with Model.open(path) as packed_model:
        found = packed_model.embed(texts)
    assert (found * expected).sum(axis=1).min() > 0.99999
