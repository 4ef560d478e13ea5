"""Embeddings: against hidden states computed step by step, refusals, and that like texts are nearer than unlike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rbe_edge import Model
from rbe_edge.errors import ContextFull, OptionError, RbeError
from rbe_edge.runtime.model import demo_path

TOKENS = [(7 * i * i + 3 * i) % 250 for i in range(70)]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


def test_is_the_pooled_state_behind_the_last_norm(model: Model) -> None:
    """The tiny model's head is dense, so that the states follow from the logits by least squares."""
    head = model.tensor_rows("embedding" if "head" not in model.tensors else "head").astype(np.float64)
    with model.session(context=128, pass_tokens=16) as session, model.session(context=128) as other:
        logits = other.score(TOKENS, logits=True).logits
        assert logits is not None
        states = np.linalg.lstsq(head, logits.T.astype(np.float64), rcond=None)[0].T
        for pooling, expected in (("mean", states.mean(axis=0)), ("last", states[-1])):
            vector = session.embedding(TOKENS, pooling=pooling)
            assert vector.dtype == np.float32 and vector.shape == (model.info.width,)
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=2e-4)
            assert session.position == 0


def test_tokens_of_a_pass_and_threads_do_not_matter(model: Model) -> None:
    with model.session(pass_tokens=64, threads=2) as one, model.session(pass_tokens=1, threads=1) as other:
        np.testing.assert_array_equal(one.embedding(TOKENS, pooling="last"), other.embedding(TOKENS, pooling="last"))
        np.testing.assert_allclose(one.embedding(TOKENS), other.embedding(TOKENS), atol=1e-6)


def test_refusals(model: Model) -> None:
    with model.session(context=16) as session:
        with pytest.raises(OptionError, match="pooling"):
            session.embedding("a", pooling="max")  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="empty"):
            session.embedding([])
        with pytest.raises(ContextFull):
            session.embedding([1] * 17)
        session.prefill([1])
        with pytest.raises(RbeError, match="empty context"):
            session.embedding("a")


def test_like_texts_are_nearer() -> None:
    texts = [
        "The little dog ran to the park to play with a ball.",
        "The small dog went to the garden and played with its ball.",
        "4 + 5 = 9, 12 + 3 = 15, 7 + 7 = 14",
    ]
    with Model.open(demo_path()) as model, model.session() as session:
        a, b, c = (session.embedding(text) for text in texts)
        assert a @ b > a @ c and a @ b > b @ c
