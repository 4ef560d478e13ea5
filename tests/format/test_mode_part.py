"""The table of power modes: written, read by Python and by C, and refused where it says what cannot be."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from rbe_edge import Model
from rbe_edge.errors import ModelError, PackError
from rbe_edge.format.modes import MODE_NAMES, SKIP, Mode, ModeTable, decode, encode
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import replace_parts
from rbe_edge.runtime.effort import Effort

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
WHOLE = Mode(bytes_per_token=100, n_tokens=10, perplexity=12.5)


def table(*others: Mode, n_layers: int = 3, **more: str) -> ModeTable:
    modes = (WHOLE, *others, *[Mode()] * (3 - len(others)))
    return ModeTable(n_layers, modes, more.get("text", "text"), more.get("against", "itself"))


_PLANES = st.sampled_from([0, 1, 2, 3, 4])
_NUMBERS = st.floats(0, 1e300)
_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=111)


@st.composite
def tables(draw: st.DrawFn) -> ModeTable:
    n_layers = draw(st.integers(1, 130))
    steps = st.lists(st.sampled_from([0, 1, 2, 3, 4, SKIP]), min_size=n_layers, max_size=n_layers)
    modes = [WHOLE]
    for _ in range(3):
        lists = [tuple(draw(steps)), tuple(draw(steps))]
        attention, feed_forward = (planes if any(planes) else () for planes in lists)
        measured = draw(st.booleans())
        numbers = [draw(_NUMBERS) if measured else 0.0 for _ in range(3)]
        n_tokens = draw(st.integers(1, 2**64 - 1)) if measured else 0
        top1 = draw(st.floats(0, 1)) if measured else 0.0
        ends = draw(_PLANES), draw(_PLANES)
        n_bytes = draw(st.integers(0, 2**64 - 1))
        modes.append(Mode(attention, feed_forward, *ends, n_bytes, n_tokens, *numbers, top1, draw(_TEXTS)))
    return ModeTable(n_layers, tuple(modes), draw(_TEXTS), draw(st.sampled_from(["itself", "source"])))


@hypothesis.given(tables())
@hypothesis.settings(max_examples=50)
def test_every_table_comes_back(wanted: ModeTable) -> None:
    assert decode(encode(wanted)) == wanted


@hypothesis.given(st.integers(0), st.integers(1, 255))
@hypothesis.settings(max_examples=300)
def test_any_changed_byte_is_another_table_or_none(at: int, change: int) -> None:
    data = bytearray(encode(table(Mode((1, SKIP, 0), (), 1, 2, 50, 10, 13.0, 0.5, 0.1, 0.5))))
    data[at % len(data)] ^= change
    try:
        found = decode(bytes(data))
    except PackError as error:
        assert "damaged" in str(error) or "modes" in str(error)
    else:
        assert encode(found) == data


def test_the_engine_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.rbe"
    shutil.copy(GOLDEN / "v3" / "parts.rbe", path)
    wanted = table(Mode((SKIP, 1, 2), (0, 0, SKIP), 3, 4, 70, 2, 13.0, 0.1, 0.01, 1.0), Mode(reason="too small"))
    replace_parts(path, [wanted.part()])
    with Model.open(path) as model, model.session() as session:
        assert model.modes == wanted
        session.prefill([1, 2])
        whole = session.logits
        for mode in model.modes.modes:
            session.rewind(0)
            session.set_effort(Effort.of_mode(mode))
            session.prefill([1, 2])
            assert (session.logits == whole).all() == mode.reads_all
    assert [wanted.modes[1].skipped, wanted.modes[1].found, wanted.modes[2].found] == [(1, 1), True, False]


def test_a_table_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.rbe"
    shutil.copy(GOLDEN / "v1" / "bits4.rbe", path)  # of one layer
    replace_parts(path, [table(n_layers=1).part()])
    with Model.open(path) as model:
        assert model.modes == table(n_layers=1)
    for n_layers in (2, 5):
        replace_parts(path, [table(n_layers=n_layers).part()])
        with pytest.raises(ModelError, match=r"part `modes`: field `(bytes|n_layers)`"):
            Model.open(path)
    replace_parts(path, [Part("modes", 2, b"of a later version")])
    with Model.open(path) as model:
        assert model.modes is None and not model.parts["modes"].known


IMPOSSIBLE = [
    (table(Mode((1, 2))), "balanced: the model has 3 layers"),
    (table(Mode((1, 2, 5))), "balanced: impossible planes"),
    (table(Mode((), (0, -1, 0))), "balanced: impossible planes"),
    (table(Mode(), Mode(lm_head=5)), "saver: impossible planes"),
    (table(Mode(), Mode(embedding=SKIP)), "saver: impossible planes"),
    (table(Mode(n_tokens=1, perplexity=float("nan"))), "balanced: impossible measurements"),
    (table(Mode(n_tokens=1, perplexity=float("inf"))), "balanced: impossible measurements"),
    (table(Mode(n_tokens=1, kl=-0.5)), "balanced: impossible measurements"),
    (table(Mode(n_tokens=1, top1=1.5)), "balanced: impossible measurements"),
    (table(Mode(kl=0.5)), "balanced: impossible measurements"),
    (table(Mode(bytes_per_token=2**64)), "whole numbers"),
    (table(Mode(reason="two\nlines")), "a reason is"),
    (table(Mode(reason="x" * 128)), "a reason is"),
    (table(text="grün"), "the name of a text"),
    (table(text="x" * 112), "the name of a text"),
    (table(against="nothing"), "against itself or source"),
    (table(n_layers=0), "1 to 4096 layers"),
    (table(n_layers=4097), "1 to 4096 layers"),
    (dataclasses.replace(table(), modes=(WHOLE,)), "has 4 modes"),
    (dataclasses.replace(table(), modes=(Mode((1, 1, 1)), Mode(), Mode(), Mode())), "performance: reads all"),
    (dataclasses.replace(table(), modes=(Mode(reason="no"), Mode(), Mode(), Mode())), "performance: reads all"),
]


@pytest.mark.parametrize("wanted, said", IMPOSSIBLE, ids=[said for _, said in IMPOSSIBLE])
def test_what_no_file_may_hold(wanted: ModeTable, said: str) -> None:
    with pytest.raises(PackError, match=said):
        encode(wanted)


@pytest.mark.parametrize("n_bytes", [0, 15, 127, 128, 500, 927, 929, 2000])
def test_cut_tables(n_bytes: int) -> None:
    data = encode(table())
    assert len(data) == 928 and len(MODE_NAMES) == 4
    with pytest.raises(PackError, match="damaged"):
        decode((data * 3)[:n_bytes])
