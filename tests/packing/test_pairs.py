"""Packing of encoder-decoders: pairs of a text and its answer, factors, sensitivities, and what the file cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ENCODER_DECODERS, END, PAD

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.held_out import HeldOutKl
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.packing.pairs import read_pairs


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder_decoders.write(ENCODER_DECODERS["byt5"], tmp_path_factory.mktemp("source") / "byt5")


@pytest.fixture(scope="module")
def dense(directory: Path) -> Path:
    return pack(directory, directory.parent / "dense.rbe", PackOptions(bits=32)).path


def test_lines_with_a_tab_are_pairs(dense: Path) -> None:
    text = "".join(f"question {number}\tanswer {number}\n" for number in range(60))
    with Model.open(dense) as model:
        found = read_pairs(model, text, EFFORTS["normal"])
        once = {tuple(pair.text): pair for pair in found.seen}
        assert len(once) < len(found.seen) and sum(map(len, found.seen)) >= EFFORTS["normal"].tokens
        assert not once.keys() & {tuple(pair.text) for pair in found.held_out}
        pairs = [*once.values(), *found.held_out]
        assert len(pairs) == 60 and found.source == "the calibration text"
        for pair in pairs:
            assert pair.text[-1] == END and pair.answer[0] == PAD and END not in pair.answer
            read, said = model.detokenize(pair.text), model.detokenize(pair.answer)
            assert read.replace("question", "answer") == said


def test_other_text_is_cut_in_halves(dense: Path) -> None:
    text = " ".join(f"word{number}" for number in range(700))
    with Model.open(dense) as model:
        found = read_pairs(model, text, EFFORTS["quick"])
        assert sum(map(len, found.seen)) >= EFFORTS["quick"].tokens
        for pair in [*found.seen, *found.held_out]:
            whole = model.detokenize(pair.text) + model.detokenize(pair.answer)
            assert whole in text and pair.text[-1] == END and pair.answer[0] == PAD


def test_too_little_text(dense: Path) -> None:
    with Model.open(dense) as model, pytest.raises(PackError, match="calibration text has"):
        read_pairs(model, "a\tb\n", EFFORTS["quick"])


def test_what_counts_gets_bits(directory: Path, tmp_path: Path) -> None:
    """More bits, less divergence; and the file answers."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"what is {number} and {number % 7}\tit is {number} so\n" for number in range(80)))
    divergences = []
    for bits in (5, 8):
        options = PackOptions(bits=bits, force=True, effort="quick", calibrate=pairs)
        report = pack(directory, tmp_path / "t5.rbe", options)
        assert isinstance(report.held_out, HeldOutKl) and report.held_out.of == "tokens of answers"
        divergences.append(report.held_out.kl)
        coded = {tensor.name: tensor for tensor in report.tensors if tensor.planes}
        assert {"encoder.layers.2.attention.q", "layers.0.cross.k", "layers.0.cross.q", "head"} <= coded.keys()
        assert all(np.isfinite(tensor.kl) for tensor in coded.values())
    assert divergences[1] < 0.5 * divergences[0]
    with Model.open(tmp_path / "t5.rbe") as model, model.session() as session:
        assert "".join(session.generate("what is 3 and 3"))
