"""Encoders in the engine against the package sentence-transformers itself, where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack

sentence_transformers = pytest.importorskip("sentence_transformers")


def test_minilm(tmp_path: Path, minilm: Path, data_dir: Path) -> None:
    """A tenth of the texts of STS-B's development set, and some that are empty, long, or of other scripts."""
    lines = (data_dir / "sts-b" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    sentences = sorted({text for line in lines[::10] for text in line.split("\t")[-3:-1]})
    sentences += ["", " ", "x", "déjà vu, Straße, 東京は大きい", "the quick brown fox " * 100]
    theirs = sentence_transformers.SentenceTransformer(str(minilm), device="cpu").encode(sentences)
    path = pack(minilm, tmp_path / "minilm.rbe", PackOptions(bits=32)).path
    with Model.open(path) as model:
        found = model.encode(sentences)
    cosine = (found * theirs).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.99999, sentences[int(cosine.argmin())]
    assert np.abs(found - theirs).max() < 1e-4
