"""Encoders in the engine against what transformers computes for the same tiny models (tools/golden_encoders.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
from encoder_cases import GOLDEN, TOLERANCE, Outputs, ours, texts
from tiny_encoders import ENCODERS, TinyEncoder

from rbe_edge.packing.pack import PackOptions, pack


def packed(encoder: TinyEncoder, directory: Path, bits: float = 32) -> Path:
    source = tiny_encoders.write(encoder, directory / "source")
    options = PackOptions(bits=bits, calibrate="none")
    return pack(source, directory / f"{encoder.name}-{bits:g}.rbe", options).path


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("name", ENCODERS)
def test_what_transformers_gives(tmp_path: Path, name: str) -> None:
    expected = golden(name)
    assert expected["tokens"].tolist() == [token for text in texts(ENCODERS[name]) for token in text.tokens]
    found = ours(packed(ENCODERS[name], tmp_path), ENCODERS[name])
    assert np.abs(found.hidden[:, expected["columns"]] - expected["hidden"]).max() < TOLERANCE
    for ours_, theirs in ((found.words, expected["words"]), (found.pooled, expected["pooled"])):
        assert ours_.shape == theirs.shape
        assert ours_.size == 0 or np.abs(ours_ - theirs).max() < TOLERANCE


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("bert_relu", "bert_masked"),
        ("bert_masked", "roberta_masked"),
        ("modernbert_classes", "modernbert_cls"),
        ("sentence_cls", "sentence_last"),
        ("sentence_max", "sentence_dense"),
    ],
)
def test_features_move_what_comes_out(name: str, base: str) -> None:
    """A feature that were ignored could not pass the comparison above."""
    one, other = golden(name), golden(base)
    key = "words" if one["words"].size else "pooled"
    assert np.abs(one[key] - other[key]).max() > 20 * TOLERANCE


@pytest.mark.parametrize("bits", [32, 16, 5])
@pytest.mark.parametrize("name", ["bert_masked", "modernbert_classes", "nomic_masked", "sentence_dense"])
def test_passes_agree(tmp_path: Path, name: str, bits: int) -> None:
    """However texts fall into passes, the numbers are the same."""
    encoder = ENCODERS[name]
    path = packed(encoder, tmp_path, bits)
    whole = ours(path, encoder)
    for pass_tokens in (4, 512):
        _equal(ours(path, encoder, pass_tokens), whole)


def _equal(one: Outputs, other: Outputs) -> None:
    np.testing.assert_array_equal(one.hidden, other.hidden)
    np.testing.assert_array_equal(one.words, other.words)
    np.testing.assert_array_equal(one.pooled, other.pooled)
