"""Gradients of encoder-decoders against those of transformers in double precision, and their bits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_encoder_decoders
from encoder_decoder_gradient import Answered, Pairs, pairs_gradient
from tiny_encoder_decoders import ENCODER_DECODERS, WIDTH

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.gradients import NONE
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

TOLERANCE = 1e-4  # of the gradient's norm; found: see docs/gradients.md
NAMES = [name for name in ENCODER_DECODERS if name != "t5_encoder"]
TEXT_WINDOW, WINDOW = 40, 19  # more than a tile of queries sees, more than the farthest distance
_TEXTS = [(7 * place + place * place // 3) % 37 + 3 for place in range(2 * TEXT_WINDOW + 9)]
_ANSWERS = [(5 * place + place * place // 7) % 37 + 3 for place in range(2 * WINDOW + 17)]
_LABELS = [(11 * place + 3) % 37 + 3 if place % 4 else NONE for place in range(len(_ANSWERS))]
PAIRS = Pairs(_TEXTS, _ANSWERS, _LABELS, TEXT_WINDOW, WINDOW)

Gradients = dict[str, npt.NDArray[np.float64]]


def _packed(name: str, tmp_path: Path) -> Path:
    directory = tiny_encoder_decoders.write(ENCODER_DECODERS[name], tmp_path / "source")
    return pack(directory, tmp_path / "model.rbe", PackOptions(bits=32)).path


def _expected(name: str, directory: Path) -> tuple[Gradients, float]:
    """By the names of the file's tensors: gradients written as if they were weights, read as these."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    kind = transformers.AutoModelForSeq2SeqLM
    model: Any = kind.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).double().eval()
    loss = torch.zeros((), dtype=torch.float64)
    for number, start in enumerate(range(0, len(_ANSWERS), WINDOW)):
        text = _TEXTS[number * TEXT_WINDOW : (number + 1) * TEXT_WINDOW]
        labels = [label if label != NONE else -100 for label in _LABELS[start : start + WINDOW]]
        answer = torch.tensor([_ANSWERS[start : start + WINDOW]])
        logits = model(input_ids=torch.tensor([text]), decoder_input_ids=answer).logits[0]
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    target = tiny_encoder_decoders.write(ENCODER_DECODERS[name], directory.parent / "gradients")
    model.float().save_pretrained(target)
    found = {tensor.name: tensor.read().astype(np.float64) for tensor in plan_model(open_source(target)).tensors}
    if name == "t5":  # the packer has put a factor into the norm, which the gradient by it lacks
        found["norm"] *= WIDTH
    return found, float(loss.detach())


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_learned(tmp_path: Path, name: str) -> None:
    """Cross attention by the decoder's stream and by the encoder's states, both stacks, their last norms, the head and
    the embedding, which both look up and which serves as head too."""
    path = _packed(name, tmp_path)
    exact, loss = _expected(name, tmp_path / "source")
    with Model.open(path) as model:
        found = pairs_gradient(model, PAIRS)
        numbers = {"positions.relative", "encoder.positions.relative"}  # which nothing tunes
        assert found.gradients.keys() == model.tensors.keys() - numbers
    assert abs(found.nats.sum() - loss) < 1e-5 * loss
    for key, value in found.gradients.items():
        norm = np.linalg.norm(exact[key])
        assert norm > 0, key
        assert np.linalg.norm(value.reshape(exact[key].shape) - exact[key]) < TOLERANCE * norm, key


def _same(one: Answered, other: Answered) -> None:
    assert one.gradients.keys() == other.gradients.keys()
    for key, value in one.gradients.items():
        assert np.array_equal(value, other.gradients[key]), key
    assert np.array_equal(one.nats, other.nats) and np.array_equal(one.d_hidden, other.d_hidden)


def test_bits_depend_on_no_thread(tmp_path: Path) -> None:
    with Model.open(_packed("t5_v1_1", tmp_path)) as model:
        _same(pairs_gradient(model, PAIRS, 1, gains=True), pairs_gradient(model, PAIRS, 3, gains=True))


def test_a_pair_alone_gives_what_it_gives_among_others(tmp_path: Path) -> None:
    with Model.open(_packed("t5", tmp_path)) as model:
        together = pairs_gradient(model, PAIRS)
        second = replace(
            PAIRS,
            texts=_TEXTS[TEXT_WINDOW : 2 * TEXT_WINDOW],
            answers=_ANSWERS[WINDOW : 2 * WINDOW],
            labels=_LABELS[WINDOW : 2 * WINDOW],
        )
        alone = pairs_gradient(model, second)
        with model.encoder() as encoder:
            assert np.abs(encoder.hidden([second.texts])[0] - alone.hidden).max() < 1e-5
    rows = slice(TEXT_WINDOW, 2 * TEXT_WINDOW)
    assert np.array_equal(together.hidden[rows], alone.hidden)
    assert np.array_equal(together.d_hidden[rows], alone.d_hidden)
    assert math.isclose(together.nats[WINDOW : 2 * WINDOW].sum(), alone.nats.sum(), rel_tol=1e-12)
