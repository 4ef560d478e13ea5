"""Layers on given hidden states: a model in parts gives the bits of the whole; what cannot be run is refused."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import Model, Session, _native
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError
from rbe_edge.packing.pack import PackOptions, pack

TOKENS = [(7 * i * i + 3 * i) % 250 for i in range(14)]

Hidden = npt.NDArray[np.float32]


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with model.session(context=32, threads=2) as made:
        yield made


def run(sessions: list[tuple[Session, int, int]], hidden: Hidden, first: int, end: int) -> tuple[Hidden, Hidden]:
    """Positions `first` to `end` through the layers of each session: hidden states, and after the last norm."""
    x, normed = hidden[first:end].copy(), []

    def show(layer: int, point: int, values: npt.NDArray[Any]) -> None:
        if point == _native.CAPTURE_LM_HEAD:
            normed.append(values.copy())

    for one, layer, count in sessions:
        one.run_layers(layer, count, x, show, position=first)
    return x, np.concatenate(normed)


@pytest.mark.parametrize(
    "name",
    ["llama", "gpt2", "gemma3", "gemma4", "gemma2", "qwen2_window", "phi3_longrope", "qwen3_moe_mixed", *WITH_OPTIONS],
)
def test_parts_give_the_bits_of_the_whole(tmp_path: Path, name: str) -> None:
    out = tmp_path / "model.rbe"
    pack(tiny_models.write(tiny_models.MODELS[name], tmp_path / "source"), out, PackOptions(bits=32))
    with Model.open(out) as model:
        layers = model.info.layers
        half = layers // 2
        with (
            Model.open(out, layers=(0, half)) as first,
            Model.open(out, layers=(half, 0)) as second,
            model.session(context=32) as whole,
            first.session(context=32, threads=1) as a,
            second.session(context=32, threads=2, pass_tokens=3) as b,
        ):
            hidden = whole.embed(TOKENS)
            parts = [(a, 0, half), (b, half, layers - half)]
            ends = [0, 9, 10, 11, len(TOKENS)]  # a prompt, single tokens, and several behind them
            pieces = [run(parts, hidden, start, end) for start, end in itertools.pairwise(ends)]
            expected = run([(whole, 0, layers)], hidden, 0, len(TOKENS))
            for got, want in zip(map(np.concatenate, zip(*pieces, strict=True)), expected, strict=True):
                np.testing.assert_array_equal(got, want)
            assert a.position == b.position == whole.position == 0


def test_the_hidden_states_are_those_of_the_text(model: Model, session: Session) -> None:
    session.prefill(TOKENS)
    with model.session(context=32) as other:
        _, normed = run([(other, 0, model.info.layers)], other.embed(TOKENS), 0, len(TOKENS))
    head = model.tensor_rows("head")
    np.testing.assert_allclose(normed[-1] @ head.T, session.logits, rtol=1e-3, atol=1e-3)


def test_the_context_stays(model: Model, session: Session) -> None:
    with model.session(context=32) as other:
        for one in (session, other):
            one.prefill(TOKENS[:5])
        before = session.logits
        hidden = np.ones((4, model.info.width), np.float32)
        session.run_layers(0, 2, hidden, position=5)
        session.run_layers(0, 2, hidden[:2], position=20)
        assert session.tokens == tuple(TOKENS[:5])
        np.testing.assert_array_equal(session.logits, before)
        for one in (session, other):
            one.prefill(TOKENS[5:])
        np.testing.assert_array_equal(session.logits, other.logits)


def test_a_part_serves_no_tokens(tiny_model: Path) -> None:
    with Model.open(tiny_model, layers=(1, 1)) as part:
        assert part.info.layers == 2 and len(part.tokenize("the thing")) > 0  # what the file says of itself
        with part.session(context=32) as session:
            for call in (session.prefill, session.score):
                with pytest.raises(ModelError, match="opened with 1 of its 2 layers"):
                    call(TOKENS)
            with pytest.raises(ModelError, match="opened with 1 of its 2 layers"):
                next(session.generate("the thing"))
            assert session.position == 0
            with Model.open(tiny_model) as whole, whole.session(context=32) as other:
                np.testing.assert_array_equal(session.embed(TOKENS), other.embed(TOKENS))
        with pytest.raises(ModelError, match="opened with 1 of its 2 layers"):
            part.batch()


@pytest.mark.parametrize("layers", [(2, 0), (0, 3), (1, 2), (2**32 - 1, 2**32 - 1)])
def test_layers_that_the_file_does_not_have(tiny_model: Path, layers: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match="of 2"):
        Model.open(tiny_model, layers=layers)


@pytest.mark.parametrize("layers", [(-1, 1), (0, -1), (2**32, 1), (0, 2**32 + 1), (1,), (0, 1, 2), ()])
def test_what_names_no_layers(tiny_model: Path, layers: Any) -> None:
    with pytest.raises(OptionError, match="two whole numbers"):
        Model.open(tiny_model, layers=layers)


def test_what_cannot_be_run(model: Model, session: Session) -> None:
    width = model.info.width
    good = np.ones((3, width), np.float32)
    session.prefill(TOKENS[:5])
    wrong: list[tuple[int, int, Any, int, type[BaseException]]] = [
        (2, 1, good, 5, OptionError),
        (1, 2, good, 5, OptionError),
        (-1, 1, good, 5, OptionError),
        (0, -1, good, 5, OptionError),
        (0, 2**32 + 1, good, 5, OptionError),
        (0, 2, good, 4, OptionError),  # in the context
        (0, 2, good, -1, OptionError),
        (0, 2, good, 2**32 + 5, OptionError),
        (0, 2, good, 30, ContextFull),
        (0, 2, good, 33, ContextFull),
        (0, 2, np.ones((3, width - 1), np.float32), 5, OptionError),
        (0, 2, np.ones(width, np.float32), 5, OptionError),
        (0, 2, good[:0], 5, OptionError),
        (0, 2, good.astype(np.float64), 5, TypeError),
        (0, 2, np.ones((3, 2 * width), np.float32)[:, ::2], 5, TypeError),
    ]
    for first, count, hidden, position, error in wrong:
        with pytest.raises(error):
            session.run_layers(first, count, hidden, position=position)
    np.testing.assert_array_equal(good, 1)
    session.run_layers(0, 2, good, position=29)  # the last ones
    session.close()
    with pytest.raises(ModelError, match="closed"):
        session.run_layers(0, 2, good, position=5)


def test_stopping(model: Model, session: Session) -> None:
    expected = session.embed(TOKENS)
    hidden = expected.copy()
    session.run_layers(0, 2, expected)
    session.cancel()
    with pytest.raises(Cancelled):
        session.run_layers(0, 2, hidden.copy())

    def fail(layer: int, point: int, values: npt.NDArray[Any]) -> None:
        raise ZeroDivisionError("from inside")

    def press(layer: int, point: int, values: npt.NDArray[Any]) -> None:
        signal.raise_signal(signal.SIGINT)

    def use_it_too(layer: int, point: int, values: npt.NDArray[Any]) -> None:
        session.prefill(TOKENS)

    for show, error in ((fail, ZeroDivisionError), (press, KeyboardInterrupt), (use_it_too, RbeError)):
        with pytest.raises(error):
            session.run_layers(0, 2, hidden.copy(), show)
    session.run_layers(0, 2, hidden)
    np.testing.assert_array_equal(hidden, expected)
