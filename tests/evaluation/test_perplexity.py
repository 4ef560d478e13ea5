"""Perplexity: the measure itself, and the engine's against PyTorch's on a real model."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.errors import OptionError
from rbe_edge.evaluation.perplexity import perplexity
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.text_windows import cut

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "perplexity"


def test_windows() -> None:
    assert cut(list(range(10)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert cut(list(range(9)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]], "one token alone gives nothing to score"
    assert cut(list(range(10)), 4, 1) == [[0, 1, 2, 3]]
    assert cut([1], 4) == cut([], 4) == []
    assert cut(list(range(7)), 4, begin=[99]) == [[99, 0, 1, 2], [99, 3, 4, 5], [99, 6]]
    assert cut([], 4, begin=[99]) == []
    with pytest.raises(OptionError, match="a window of 1 tokens has no room behind the 1 that begin a text"):
        cut([1, 2], 1, begin=[99])


def test_is_what_the_logits_say(tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")
    path = pack(source, tmp_path / "m.rbe", PackOptions(bits=32)).path
    tokens = [(7 * i * i + 3) % 268 for i in range(21)]
    with Model.open(path) as model:
        found = perplexity(model, tokens, window=8)
        assert (found.n_scored, found.window, len(found.nats)) == (7 + 7 + 4, 8, 3)
        expected = 0.0
        for part in (tokens[:8], tokens[8:16], tokens[16:]):
            with model.session() as session:
                logits = session.score(part, logits=True).logits
            assert logits is not None
            shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
            log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            expected -= sum(log_probabilities[i, token] for i, token in enumerate(part[1:]))
        assert found.nats_per_token == pytest.approx(expected / 18, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(expected / 18), rel=1e-5)
        assert perplexity(model, "one two three four five six", window=8).window == 8
        for text in ("", [5]):
            with pytest.raises(OptionError, match="at least 2 are needed"):
                perplexity(model, text)
        with pytest.raises(OptionError, match="at least 2 tokens"):
            perplexity(model, tokens, window=1)


def test_wiki18m_agrees_with_pytorch(tmp_path: Path, data_dir: Path) -> None:
    """The first 12 windows of the 48 for which tools/perplexity.py wrote what PyTorch gives."""
    golden = json.loads((GOLDEN / "wiki18m.json").read_text())
    path = pack(data_dir / "wiki18m", tmp_path / "wiki.rbe", PackOptions(bits=32)).path
    with Model.open(path) as model:
        tokens = model.tokenize((data_dir / "text" / golden["text"]).read_text(encoding="utf-8"), special=False)
        assert hashlib.sha256(np.array(tokens, "<u4").tobytes()).hexdigest() == golden["tokens_sha256"]
        ours = perplexity(model, tokens, window=golden["window"], n_windows=12)
    theirs = math.exp(sum(golden["nats"][:12]) / ours.n_scored)
    assert ours.perplexity == pytest.approx(theirs, rel=1e-3)
