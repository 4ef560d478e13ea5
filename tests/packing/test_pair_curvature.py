"""Sensitivities of encoder-decoders from one backward pass: they foretell what errors in either stack cost the answers,
and depend on nothing but model and pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ENCODER_DECODERS, TinyEncoderDecoder

from rbe_edge.errors import Cancelled
from rbe_edge.packing import curvature, sensitivity
from rbe_edge.packing.bands import count
from rbe_edge.packing.calibration import feedback_factor
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.kept import Keeping, Kept
from rbe_edge.packing.loss import AnswerLoss
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.packing.pair_passes import PairPasses
from rbe_edge.packing.pairs import Pair
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import divergences, log_softmax
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import TensorPlan


def _pair(number: int) -> Pair:
    """Of one of three lengths."""
    text = [3 + (7 * number + 5 * place * place) % 37 for place in range(9 + 4 * (number % 3))]
    return Pair([*text, 1], [0, *(3 + (3 * number + place * place) % 37 for place in range(11 - 3 * (number % 2)))])


PAIRS = [_pair(number) for number in range(40)]


def _made(model: TinyEncoderDecoder, directory: Path) -> tuple[DenseCopy, list[TensorPlan]]:
    source = tiny_encoder_decoders.write(model, directory / "source")
    report = pack(source, directory / "dense.rbe", PackOptions(bits=32))
    return DenseCopy(report.path, report.areas), sensitivity.coded(plan_model(open_source(source)).tensors)


def _curvature(
    copy: DenseCopy, tensors: Sequence[TensorPlan], pairs: Sequence[Pair], threads: int, keeping: Keeping | None = None
) -> Curvature:
    return Curvature(copy, tensors, pairs, lambda tensor: 7, threads, None, keeping, AnswerLoss, PairPasses)


def _said(copy: DenseCopy) -> Iterator[npt.NDArray[np.float32]]:
    with Model.open(copy.path, verify=False) as model, model.session(context=64, kv="f32", threads=1) as session:
        for pair in PAIRS:
            session.encode(pair.text)
            logits = session.score(pair.answer, logits=True).logits
            assert logits is not None
            yield log_softmax(logits)


def _noisy_cost(copy: DenseCopy, tensor: TensorPlan, exact: Sequence[npt.NDArray[np.float32]], size: float) -> float:
    """Nats per token and unit of relative squared error, of white errors as large as each row is."""
    values = tensor.read()
    sizes, total = np.linalg.norm(values, axis=1, keepdims=True) / np.sqrt(values.shape[1]), 0.0
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal(values.shape)
        copy.write(tensor.name, values + (size * sizes * noise).astype(np.float32))
        each = [divergences(one, other) for one, other in zip(exact, _said(copy), strict=True)]
        total += float(np.concatenate(each).mean()) / 3
    copy.write(tensor.name, values)
    return total / size**2


@pytest.mark.parametrize("name", ["t5", "mt5"])
def test_they_foretell_the_divergence_of_white_errors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is fed back, so that all of H's diagonal counts."""
    copy, tensors = _made(ENCODER_DECODERS[name], tmp_path)

    def without_feedback(total: npt.NDArray[np.float32], *_: object) -> npt.NDArray[np.float32]:
        return np.diag(1 / np.sqrt(np.maximum(np.diag(total), 1e-30))).astype(np.float32)

    monkeypatch.setattr(curvature, "feedback_factor", without_feedback)
    found = _curvature(copy, tensors, PAIRS, 2).sensitivities
    assert found.keys() == {tensor.name for tensor in tensors}
    exact = list(_said(copy))
    ratios = {tensor.name: _noisy_cost(copy, tensor, exact, 0.03) / found[tensor.name] for tensor in tensors}
    assert np.median(list(ratios.values())) == pytest.approx(1, abs=0.25), ratios
    assert min(ratios.values()) > 0.4 and max(ratios.values()) < 2.5, ratios


def test_they_depend_on_no_thread_and_no_order(tmp_path: Path) -> None:
    copy, tensors = _made(ENCODER_DECODERS["t5"], tmp_path)
    before = copy.path.read_bytes()
    one, other = _curvature(copy, tensors, PAIRS[:12], 1), _curvature(copy, tensors, PAIRS[:12], 3)
    assert min(one.sensitivities.values()) > 0 and one.sensitivities == other.sensitivities
    for tensor in tensors:
        first, second = one.factor(tensor.name), other.factor(tensor.name)
        assert first is not None and second is not None and np.array_equal(first, second), tensor.name
    assert copy.path.read_bytes() == before


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the decoder, and in the encoder; and what the cache has lost is computed again."""
    copy, tensors = _made(ENCODER_DECODERS["t5_v1_1"], tmp_path)
    expected = _curvature(copy, tensors, PAIRS[:12], 2).sensitivities
    made: list[int] = []

    def count_factors(total: npt.NDArray[np.float32], *arguments: object) -> npt.NDArray[np.float32]:
        made.append(len(total))
        if len(made) == stop_at:
            raise Cancelled
        return feedback_factor(total, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(curvature, "feedback_factor", count_factors)
    keeping = Keeping(Kept(tmp_path / "kept"), "work")
    stop_at = len(tensors) // 3
    for _ in range(2):
        made.clear()
        with pytest.raises(Cancelled):
            _curvature(copy, tensors, PAIRS[:12], 2, keeping)
    done = len(list((tmp_path / "kept").iterdir()))
    made.clear()
    stop_at = -1
    assert _curvature(copy, tensors, PAIRS[:12], 2, keeping).sensitivities == expected
    assert done and len(made) < len(tensors)
    for path in list((tmp_path / "kept").iterdir())[::3]:
        path.unlink()
    assert _curvature(copy, tensors, PAIRS[:12], 2, keeping).sensitivities == expected


def test_the_embedding_in_bands(tmp_path: Path) -> None:
    """Of a file of a vocabulary that has some; both stacks look up in it, and answers come out of it."""
    tiny = ENCODER_DECODERS["byt5"]
    config = {**tiny.config, "vocab_size": 3072, "tie_word_embeddings": True, "feed_forward_proj": "relu"}
    tiny = dataclasses.replace(tiny, config=config, has_head=False)
    copy, tensors = _made(tiny, tmp_path)
    energies = _curvature(copy, tensors, PAIRS[:12], 2).energies["embedding"]
    assert len(energies) == count(3072) == 3
    assert energies[0] > 1.2 * max(energies[1:])  # the others serve as head alone, for no text has their tokens
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"what is {number}\tit is {number} so\n" for number in range(80)))
    report = pack(tmp_path / "source", tmp_path / "t5.rbe", PackOptions(bits=3.5, calibrate=pairs))
    assert sum(tensor.name.startswith("embedding#") for tensor in report.tensors) == 3
    with Model.open(report.path) as model, model.session(context=64) as session:
        session.encode("what is 3")
        logits = session.score([0, *model.tokenize("it is 3 so")], logits=True).logits
        assert logits is not None and np.isfinite(logits).all()
