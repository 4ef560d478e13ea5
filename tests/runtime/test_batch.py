"""Steps of many sessions at once give each the bits of its own steps."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import Model, Session
from rbe_edge.bench.shapes import Shape, write_model
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError
from rbe_edge.packing.pack import PackOptions, pack

PROMPTS = [[5, 250, 17], [9], [3, 201, 64, 30, 2, 8, 8, 1], [77, 12, 80, 4, 9], [1, 2]]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


def best(session: Session) -> int:
    return int(session.logits.argmax())


@pytest.mark.parametrize(
    "name",
    [
        "llama", "gpt2", "gemma2", "gemma4", "gemma4_joined", "qwen2", "qwen3", "phi3", "qwen3_moe", "lfm2_moe",
        "qwen2_moe", "granitemoeshared",
        "spark", "lfm2_bias", *WITH_OPTIONS,
    ],
)  # fmt: skip
def test_the_same_bits_as_single_steps(tmp_path: Path, name: str) -> None:
    out = tmp_path / "model.rbe"
    pack(tiny_models.write(tiny_models.MODELS[name], tmp_path / "source"), out, PackOptions(bits=32))
    check_steps(out)


@pytest.mark.parametrize("planes", [(4,), (3,), (2, 1)])
def test_the_same_bits_of_generated_weights(tmp_path: Path, planes: tuple[int, ...]) -> None:
    shape = Shape("tiny", "random bits", 2, 320, 5, 1, 64, 512, 300)
    write_model(shape, planes, tmp_path / "model.rbe")
    check_steps(tmp_path / "model.rbe")


def check_steps(path: Path) -> None:
    with Model.open(path) as model, model.batch(max_sessions=5, threads=2) as batch:
        together = [model.session(context=48 + i, kv="q8" if i == 3 else "f16", threads=1) for i in range(5)]
        alone = [model.session(context=48 + i, kv="q8" if i == 3 else "f16", threads=1) for i in range(5)]
        for sessions in (together, alone):
            for session, prompt in zip(sessions, PROMPTS, strict=True):
                session.prefill(prompt)
        for step in range(6):
            takes_part = [i for i in range(5) if step != 3 or i % 2]  # any of them may be left out
            tokens = [best(alone[i]) for i in takes_part]
            assert batch.step([together[i] for i in takes_part], tokens) == [None] * len(tokens)
            for i, token in zip(takes_part, tokens, strict=True):
                alone[i].prefill([token])
                np.testing.assert_array_equal(together[i].logits, alone[i].logits, err_msg=f"session {i}, step {step}")
                assert together[i].tokens == alone[i].tokens


def test_long_contexts_agree(tmp_path: Path) -> None:
    """More than one chunk of attention, where a single step shares a query between threads."""
    tiny = tiny_models.MODELS["llama"]
    tiny = dataclasses.replace(tiny, config={**tiny.config, "max_position_embeddings": 2048})
    out = tmp_path / "long.rbe"
    pack(tiny_models.write(tiny, tmp_path / "source"), out, PackOptions(bits=32))
    prompt = [(i * i) % 250 for i in range(1300)]
    with Model.open(out) as model, model.batch(max_sessions=2, threads=2) as batch:
        a, b, single = model.session(threads=2), model.session(threads=2), model.session(threads=2)
        a.prefill(prompt)
        single.prefill(prompt)
        b.prefill([4, 5])
        batch.step([b, a], [7, 9])
        single.prefill([9])
        np.testing.assert_array_equal(a.logits, single.logits)


def test_sliding_contexts_step_too(model: Model) -> None:
    with model.batch(max_sessions=2) as batch:
        slides, single, other = (model.session(context=32, sinks=4) for _ in range(3))
        for session in (slides, single):
            session.prefill([(5 * i) % 250 for i in range(32)])
        other.prefill([1])
        for token in (8, 9, 10):
            assert batch.step([slides, other], [token, token]) == [None, None]
            single.prefill([token])
            assert slides.tokens == single.tokens
            np.testing.assert_array_equal(slides.logits, single.logits)


def test_a_full_context_concerns_one_session(model: Model) -> None:
    with model.batch() as batch, model.session(context=4) as full, model.session(context=16) as free:
        full.prefill([1, 2, 3, 4])
        free.prefill([1])
        before = full.logits
        outcomes = batch.step([full, free], [5, 6])
        assert isinstance(outcomes[0], ContextFull) and "4 tokens" in str(outcomes[0]) and outcomes[1] is None
        assert full.tokens == (1, 2, 3, 4) and free.tokens == (1, 6)
        np.testing.assert_array_equal(full.logits, before)


def test_cancelling_one_or_all(model: Model) -> None:
    with model.batch() as batch, model.session() as a, model.session() as b:
        a.prefill([1])
        b.prefill([2])
        a.cancel()
        outcomes = batch.step([a, b], [5, 6])
        assert isinstance(outcomes[0], Cancelled) and outcomes[1] is None
        assert a.tokens == (1,) and b.tokens == (2, 6)
        batch.cancel()
        with pytest.raises(Cancelled):
            batch.step([a, b], [5, 6])
        assert a.tokens == (1,) and b.tokens == (2, 6)
        assert batch.step([a, b], [5, 6]) == [None, None]


def test_what_cannot_step_is_refused_whole(model: Model, tiny_model: Path) -> None:
    with model.batch(max_sessions=2) as batch, Model.open(tiny_model) as second:
        a, b, c = (model.session() for _ in range(3))
        wrong: list[tuple[list[Session], list[int], str]] = [
            ([], [], "1 to 2"),
            ([a, b, c], [1, 2, 3], "1 to 2"),
            ([a], [1, 2], "as many tokens"),
            ([a, a], [1, 2], "only once"),
            ([a, b], [1, 10**6], "tokens must be"),
            ([a, second.session()], [1, 2], "session 1 is not of the batch"),
        ]
        for sessions, tokens, message in wrong:
            with pytest.raises(OptionError, match=message):
                batch.step(sessions, tokens)
            assert a.tokens == ()
        c.close()
        with pytest.raises(ModelError, match="closed"):
            batch.step([a, c], [1, 2])
        assert batch.step([a, b], [1, 2]) == [None, None]
    with pytest.raises(ModelError, match="batch has been closed"):
        batch.step([a], [1])
    for options in ({"max_sessions": 0}, {"threads": 65}, {"planes": 5}):
        with pytest.raises(OptionError):
            model.batch(**options)


def test_closing_the_model_frees_it(tiny_model: Path) -> None:
    model = Model.open(tiny_model)
    batch, session = model.batch(), model.session()
    session.prefill([1])
    failure: list[BaseException] = []

    def steps() -> None:
        try:
            while True:
                outcomes = batch.step([session], [1])
                if outcomes[0] is not None:
                    session.rewind(1)
        except RbeError as error:
            failure.append(error)

    thread = threading.Thread(target=steps)
    thread.start()
    time.sleep(0.05)
    model.close()
    thread.join(timeout=20)
    assert not thread.is_alive() and failure
    batch.close()
