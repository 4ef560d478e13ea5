"""Sessions that read less of a model: fewer planes of some layers, and steps that are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import Model, Session
from rbe_edge.codes.trellis import plane_layouts
from rbe_edge.errors import OptionError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.threads import Workers

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]
SAVER = Effort(attention=(0, SKIP), feed_forward=(SKIP, 0))
ALL = (0, 0)
HEADER_BYTES = 64  # of a saved state: the model, and the planes that were read; then tokens, logits, keys and values


def pack_without(name: str, directory: Path, *left_out: str) -> Path:
    """A tiny model in fp32 of which some matrices, and their biases, are zero: what is behind them adds nothing."""
    source = tiny_models.write(tiny_models.MODELS[name], directory / "source")
    weights = tiny_models.tensors(tiny_models.MODELS[name])
    changed = [found for found in weights if any(part in found for part in left_out)]
    assert len({found.rpartition(".")[0] for found in changed}) == len(left_out)
    tiny_models.write_safetensors(
        source / "model.safetensors", {found: values * (found not in changed) for found, values in weights.items()}
    )
    out = directory / f"{len(left_out)}-{'-'.join(left_out)}.rbe"
    pack(source, out, PackOptions(bits=32))
    return out


@pytest.mark.parametrize(
    ("name", "attention", "feed_forward"),
    [
        ("llama", "layers.1.self_attn.o_proj", "layers.0.mlp.down_proj"),
        ("gemma2", "layers.1.self_attn.o_proj", "layers.0.mlp.down_proj"),
        ("gpt2", "h.1.attn.c_proj", "h.0.mlp.c_proj"),
        ("qwen3", "layers.1.self_attn.o_proj", "layers.0.mlp.down_proj"),
        ("olmo2", "layers.1.self_attn.o_proj", "layers.0.mlp.down_proj"),
        ("stablelm_12b", "layers.1.self_attn.o_proj", "layers.0.mlp.down_proj"),
    ],
)
def test_what_is_left_out_adds_nothing(tmp_path: Path, name: str, attention: str, feed_forward: str) -> None:
    """As in a model whose last matrices of these steps are zero, whatever the pieces."""
    whole, less = pack_without(name, tmp_path / "a"), pack_without(name, tmp_path / "b", attention, feed_forward)
    with Model.open(whole) as model, Model.open(less) as zeroed:
        with zeroed.session() as session:
            expected = session.score(TOKENS, logits=True).logits
        with model.session() as session:
            full = session.score(TOKENS, logits=True).logits
            session.rewind(0)
            session.set_effort(SAVER)
            np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, expected)
            session.rewind(0)
            for token in TOKENS:
                session.prefill([token])
            np.testing.assert_array_equal(session.logits, expected[-1])
            session.set_effort(None)
            session.rewind(0)
            np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, full)
        assert np.abs(full - expected).max() > 0.01


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    directory = tmp_path_factory.mktemp("nested")
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    with fixed_planes((2, 2)):
        pack(source, directory / "nested.rbe", PackOptions(bits=2, calibrate="none"))
    with Model.open(directory / "nested.rbe") as model:
        yield model


def scored(session: Session, effort: Effort | None) -> npt.NDArray[np.float32]:
    session.set_effort(effort)
    session.rewind(0)
    logits = session.score(TOKENS, logits=True).logits
    assert logits is not None
    return logits


def test_planes_of_layers(nested: Model) -> None:
    with nested.session() as session, nested.session(planes=1) as base:
        session.configure(planes={"attention": 1})
        session.prefill(TOKENS)
        expected = session.logits
        assert np.array_equal(scored(session, Effort((1, 1), ALL))[-1], expected)
        base.prefill(TOKENS)
        assert np.array_equal(scored(session, Effort((1, 1), (1, 1), 1, 1))[-1], base.logits)
        efforts = [None, *(Effort(*lists) for lists in ([(1, 0), ALL], [(0, 1), ALL], [ALL, (1, 0)], [ALL, (0, 1)]))]
        found = [scored(session, effort) for effort in efforts]
        for i, first in enumerate(found):
            assert all(np.abs(first - second).max() > 1e-3 for second in found[:i])
        session.configure(planes=1)  # replaces it
        session.rewind(0)
        session.prefill(TOKENS)
        np.testing.assert_array_equal(session.logits, base.logits)


def test_a_context_of_several_efforts(nested: Model, tmp_path: Path) -> None:
    """What was read in one mode is read on in another: after saving, a copy and going back, as without them."""
    with nested.session(context=32) as session, nested.session(context=32) as other:
        session.set_effort(SAVER)
        session.prefill(TOKENS[:6])
        session.save(tmp_path / "state")
        other.copy_from(session, 6)
        session.set_effort(None)
        session.prefill(TOKENS[6:])
        expected = session.logits
        other.prefill(TOKENS[6:])
        np.testing.assert_array_equal(other.logits, expected)
        other.restore(tmp_path / "state")
        other.prefill(TOKENS[6:8])
        other.set_effort(SAVER)
        other.prefill([1])
        other.rewind(8)
        other.set_effort(None)
        other.prefill(TOKENS[8:])
        np.testing.assert_array_equal(other.logits, expected)
        session.rewind(0)
        session.prefill(TOKENS)
        assert np.abs(session.logits - expected).max() > 1e-3


def test_sliding_in_a_mode(tmp_path: Path) -> None:
    """Keys and values of layers whose attention is left out are kept, and move as those of the others do."""
    left_out = ("layers.1.self_attn.o_proj", "layers.0.mlp.down_proj")
    whole, less = pack_without("llama", tmp_path / "a"), pack_without("llama", tmp_path / "b", *left_out)
    states = []
    for path, effort in ((whole, SAVER), (less, None)):
        with Model.open(path) as model, model.session(context=24, sinks=2) as session:
            session.set_effort(effort)
            for token in (TOKENS * 4)[:37]:
                session.prefill([token])
            session.save(tmp_path / "state")
            states.append((tmp_path / "state").read_bytes())
            assert session.position < 24
    assert len(states[0]) == len(states[1]) > 24 * 64
    assert states[0][HEADER_BYTES:] == states[1][HEADER_BYTES:]


def test_a_batch_of_different_modes(nested: Model) -> None:
    efforts = [None, SAVER, Effort((1, 1), ALL), SAVER, None, Effort(embedding=1)]
    sessions = [nested.session(context=32) for _ in efforts]
    alone = [nested.session(context=32) for _ in efforts]
    with nested.batch(max_sessions=len(efforts), follow_sessions=True) as batch, nested.batch(planes=1) as own:
        for i, effort in enumerate(efforts):
            for session in (sessions[i], alone[i]):
                session.set_effort(effort)
                session.prefill(TOKENS[: i + 1])
        for step in range(4):
            if step == 2:  # a mode changes
                for session in (sessions[0], alone[0]):
                    session.set_effort(SAVER)
            batch.step(sessions, TOKENS[: len(efforts)])
            for i, token in enumerate(TOKENS[: len(efforts)]):
                alone[i].prefill([token])
                np.testing.assert_array_equal(sessions[i].logits, alone[i].logits, err_msg=f"{i}, step {step}")
        alone[1].configure(planes=1)
        own.step([sessions[1]], [9])  # by the batch's planes, whatever the session's effort
        alone[1].prefill([9])
        np.testing.assert_array_equal(sessions[1].logits, alone[1].logits)


def test_bytes_are_those_of_the_planes(nested: Model) -> None:
    """The sum over the tensors of the file: streams and scales of their planes, and one row of the embedding."""

    def read_of(name: str, count: int) -> int:
        tensor = nested.tensors[name]
        if not tensor.plane_bits:
            return tensor.data_bytes
        layouts = plane_layouts(tensor.rows, tensor.cols, tensor.plane_bits)[: count or None]
        return sum(layout.stream_bytes + 2 * tensor.rows for layout in layouts)

    def expected(effort: Effort) -> int:
        total = read_of("head", effort.lm_head) + read_of("embedding", effort.embedding) // nested.info.vocabulary
        for layer in range(2):
            for part, listed, names in (
                ("attention", effort.attention, "qkvo"),
                ("feed_forward", effort.feed_forward, ("gate", "up", "down")),
            ):
                count = listed[layer] if listed else 0
                read = [name for name in names if count != SKIP or name in ("k", "v")]
                total += sum(read_of(f"layers.{layer}.{part}.{name}", 0 if count == SKIP else count) for name in read)
        return total

    for effort in (Effort(), SAVER, Effort((1, 0), (1, 1)), Effort((SKIP, SKIP), (SKIP, SKIP)), Effort(lm_head=1)):
        assert nested.read_bytes(effort) == expected(effort)
    assert nested.read_bytes() == nested.read_bytes(Effort())


def test_workers_change_nothing_that_is_said(nested: Model) -> None:
    with nested.session() as session, nested.batch(max_sessions=1) as batch:
        session.prefill(TOKENS)
        expected = session.logits
        for workers in (
            Workers(2, sleep=True),
            Workers(3, slow_cores=True),
            Workers(sleep=True, slow_cores=True),
            Workers(1),
        ):
            session.set_workers(workers)
            batch.set_workers(workers)
            assert session.info.threads == (workers.threads or 3)
            session.rewind(0)
            session.prefill(TOKENS)
            np.testing.assert_array_equal(session.logits, expected)
            session.rewind(len(TOKENS) - 1)
            batch.step([session], TOKENS[-1:])
            np.testing.assert_array_equal(session.logits, expected)
        with pytest.raises(OptionError, match="threads must be from 1 to 64"):
            session.set_workers(Workers(65))


@pytest.mark.parametrize(
    "effort",
    [
        Effort(attention=(0,)),
        Effort(attention=(0, 0), feed_forward=(0,)),
        Effort(attention=(0, 5)),
        Effort(feed_forward=(254, 0)),
        Effort(embedding=5),
        Effort(lm_head=SKIP),
    ],
)
def test_what_is_no_effort(nested: Model, effort: Effort) -> None:
    with nested.session() as session:
        before = scored(session, SAVER)
        with pytest.raises(OptionError):
            session.set_effort(effort)
        with pytest.raises(OptionError):
            nested.read_bytes(effort)
        session.rewind(0)
        np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, before)
