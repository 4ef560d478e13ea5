"""Types of the KV cache, and contexts that slide when they are full."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import GenerationOptions, Model
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, StateError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime import fit
from rbe_edge.runtime.options import KvType, SessionOptions

TOKENS = [(7 * i * i + 3) % 256 for i in range(70)]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.mark.parametrize(("kv", "error", "memory"), [("f16", 0.001, 0.51), ("q8", 0.03, 0.33), ("q8q4", 0.15, 0.27)])
def test_types(model: Model, kv: KvType, error: float, memory: float) -> None:
    with model.session(context=128, kv="f32") as exact, model.session(context=128, kv=kv) as session:
        assert session.info.kv_bytes <= memory * exact.info.kv_bytes
        exact.prefill(TOKENS)
        session.prefill(TOKENS)
        spread = float(exact.logits.std())
        difference = float(np.square(session.logits - exact.logits).mean() ** 0.5)
        assert 0 < difference < error * spread


def test_the_type_is_chosen(model: Model, tmp_path: Path) -> None:
    """The same bits as where it was given; a state saved with either goes on in the other."""
    with model.session(context=64, kv="auto") as chosen, model.session(context=64, kv="q8") as given:
        assert chosen.info.kv == given.info.kv == "q8"
        for first, second in ((chosen, given), (given, chosen)):
            first.rewind(0)
            first.prefill(TOKENS[:20])
            first.save(tmp_path / "state")
            second.restore(tmp_path / "state")
            for token in TOKENS[20:24]:
                first.prefill([token])
                second.prefill([token])
                np.testing.assert_array_equal(first.logits, second.logits)
    with model.session() as usual, model.session(context=32, kv="q8q4") as small:
        assert (usual.info.kv, small.info.kv) == ("f16", "q8q4")
        with pytest.raises(StateError, match="saved with a cache of type q8, this session's is f16"):
            usual.restore(tmp_path / "state")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("qwen3", {"head_dim": 264}),  # every layer
        ("gemma4", {"global_head_dim": 264}),  # every second one
    ],
)
def test_heads_too_large_for_int8(tmp_path: Path, name: str, changes: dict[str, int]) -> None:
    for dims, kv in ({key: 256 for key in changes}, "q8"), (changes, "f16"):
        tiny = tiny_models.MODELS[name]
        source = tiny_models.write(dataclasses.replace(tiny, config={**tiny.config, **dims}), tmp_path / kv)
        path = pack(source, tmp_path / f"{kv}.rbe", PackOptions(bits=16)).path
        wish = fit.Wish(SessionOptions(context=32, threads=1, kv="auto"))
        found = fit.estimate(path, wish)
        with Model.open(path) as model, model.session(context=32, threads=1, kv="auto") as session:
            assert session.info.kv == found.kv == kv and session.info.kv_bytes == found.kv_bytes
            session.prefill(TOKENS[:20])
            with model.session(context=32, threads=1, kv=session.info.kv) as same:
                same.prefill(TOKENS[:20])
                np.testing.assert_array_equal(session.logits, same.logits)
            if kv == "f16":
                with pytest.raises(ModelError, match="int8 cache needs heads of at most 256, this model's have 264"):
                    model.session(context=32, kv="q8")
        assert fit.advise(path, found.total - 1, wish).kv is None


def test_sliding(model: Model) -> None:
    with model.session(context=32, sinks=4, pass_tokens=8) as session:
        held: list[int] = []
        for start in range(0, 70, 7):
            session.prefill(TOKENS[start : start + 7])
            held += TOKENS[start : start + 7]
            assert session.position <= 32 and len(session.tokens) == session.position
            assert session.tokens[:4] == tuple(held[:4])
            assert session.tokens[4:] == tuple(held[-(session.position - 4) :])
        assert session.position < 70 and np.isfinite(session.logits).all()
        session.score(TOKENS[:40])  # longer than the context
        assert session.tokens[:4] == tuple(held[:4])
        assert session.tokens[4:] == tuple(TOKENS[:40][-(session.position - 4) :])
        before, logits = session.tokens, session.logits.copy()
        with pytest.raises(Cancelled):
            session.prefill(TOKENS, progress=lambda done, total: done > 40)
        assert session.tokens == before
        np.testing.assert_array_equal(session.logits, logits)
        session.prefill(TOKENS[:3])
        assert session.tokens[-3:] == tuple(TOKENS[:3])


ONE_LAYER = {"num_hidden_layers": 1}
WITHOUT_ROPE = {"smollm3": {"no_rope_layers": [0]}, "exaone4_window": {"layer_types": ["full_attention"]}}


@pytest.mark.parametrize("name", ["llama", "phi3_partial", "qwen3", *WITH_OPTIONS])
def test_what_slid_is_as_if_it_had_been_read_there(tmp_path: Path, name: str) -> None:
    """In a model of one layer, keys and values know nothing of what was dropped."""
    tiny = tiny_models.MODELS[name]
    layer = ONE_LAYER | ({"layer_types": ["full_attention"]} if "layer_types" in tiny.config else {})
    changed = {**tiny.config, **layer, **WITHOUT_ROPE.get(name, {})}
    source = tiny_models.write(dataclasses.replace(tiny, config=changed), tmp_path / "source")
    with Model.open(pack(source, tmp_path / "model.rbe", PackOptions(bits=32)).path) as model:
        assert ("position.rotary_layers" in model.metadata) == (name in WITHOUT_ROPE)
        with model.session(context=32, sinks=4, kv="f32") as slid, model.session(context=32, kv="f32") as other:
            slid.prefill(TOKENS[:32])
            slid.prefill([50, 51])
            assert slid.position < 32
            other.prefill(slid.tokens)
            assert np.abs(slid.logits - other.logits).max() < 1e-4 * np.abs(other.logits).max()


def test_generation_goes_past_the_context(model: Model) -> None:
    options = GenerationOptions(max_tokens=50, ignore_end=True)
    with model.session(context=32, sinks=4) as session:
        generation = session.generate(TOKENS[:10], options)
        assert "".join(generation) and generation.statistics.finish == "length"
    with model.session(context=32) as session:
        generation = session.generate(TOKENS[:10], options)
        assert "".join(generation) and generation.statistics.finish == "context"
        with pytest.raises(ContextFull):
            session.prefill(TOKENS)


def test_refused(model: Model) -> None:
    with pytest.raises(OptionError, match="sinks must be"):
        model.session(sinks=-1)
    with pytest.raises(ModelError, match="at most half the context"):
        model.session(context=32, sinks=17)
    with pytest.raises(OptionError, match="kv must be one of"):
        model.session(kv="q2")  # type: ignore[arg-type]
