"""Penalties of the answer's own tokens, and biases of tokens, as generations use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from rbe_edge.errors import OptionError
from rbe_edge.runtime.engine_generation import EngineGeneration
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions, split_options
from rbe_edge.runtime.sampler import Sampler


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with Model.open(demo_path()) as model:
        yield model


def drawn(model: Model, sampling: SamplingOptions, count: int = 60) -> list[int]:
    """The tokens of an answer that does not end by itself."""
    found = []
    with model.session(threads=1) as session:
        session.prefill(model.tokenize("The water is the water is the water is"))
        with EngineGeneration(session, sampling, max_tokens=count, ignore_end=True) as generation:
            while len(found) < count:
                token = generation.step().token
                assert token is not None
                found.append(token)
    return found


def test_frequency_penalty_spreads_an_answer(model: Model) -> None:
    plain, spread = drawn(model, SamplingOptions()), drawn(model, SamplingOptions(frequency_penalty=2.0))
    once = drawn(model, SamplingOptions(presence_penalty=100.0))
    assert len(set(plain)) < len(set(spread)) <= len(set(once)) == len(once)
    favoured = drawn(model, SamplingOptions(presence_penalty=-100.0))
    assert len(set(favoured)) == 1  # whatever came first comes for ever
    assert spread == drawn(model, SamplingOptions(frequency_penalty=2.0))


def test_the_prompt_does_not_count(model: Model) -> None:
    """OpenAI's penalties are of what was generated: the first token is the likeliest, prompt or not."""
    assert drawn(model, SamplingOptions(presence_penalty=100.0))[0] == drawn(model, SamplingOptions())[0]


def test_biases_exclude_and_force(model: Model) -> None:
    plain = drawn(model, SamplingOptions())
    common, _ = Counter(plain).most_common(1)[0]
    without = drawn(model, SamplingOptions(logit_bias=((common, -np.inf),)))
    assert common not in without
    assert set(drawn(model, SamplingOptions(logit_bias=((5, 1000.0),)))) == {5}


def test_options_are_checked(model: Model) -> None:
    for wrong in (
        {"presence_penalty": 101.0},
        {"frequency_penalty": float("nan")},
        {"logit_bias": ((-1, 0.0),)},
        {"logit_bias": ((1, float("nan")),)},
        {"logit_bias": ((1, float("inf")),)},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            SamplingOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="not in the vocabulary"):
        Sampler(10, SamplingOptions(logit_bias=((10, 1.0),)))
    with pytest.raises(OptionError, match="not in the vocabulary"):
        drawn(model, SamplingOptions(logit_bias=((model.info.vocabulary, 1.0),)), 1)
    assert split_options({"frequency_penalty": 1.0}, GenerationOptions())[1].sampling.frequency_penalty == 1.0
