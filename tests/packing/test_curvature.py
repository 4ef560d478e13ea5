"""Sensitivities from one backward pass: they foretell what errors cost, and depend on nothing but model and text."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge.codes import trellis
from rbe_edge.errors import Cancelled, OptionError
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing import array_store, curvature, sensitivity
from rbe_edge.packing.calibration import feedback_factor
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.kept import Keeping, Kept
from rbe_edge.packing.loss import WordLoss
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.text_windows import cut
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import TensorPlan

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 80


def made(name: str, directory: Path, **changes: int) -> tuple[DenseCopy, list[TensorPlan]]:
    model = tiny_models.MODELS[name]
    model = dataclasses.replace(model, config={**model.config, **changes})
    source = tiny_models.write(model, directory / name)
    report = pack(source, directory / f"{name}.rbe", PackOptions(bits=32))
    return DenseCopy(report.path, report.areas), sensitivity.coded(plan_model(open_source(source)).tensors)


def text_of(copy: DenseCopy, n: int) -> list[int]:
    with Model.open(copy.path) as model:
        return model.tokenize(TEXT, special=False)[:n]


def noisy_cost(copy: DenseCopy, tensor: TensorPlan, tokens: list[int], size: float, draws: int) -> float:
    """Nats per token and unit of relative squared error, of white errors as large as each row is."""
    values = tensor.read()
    sizes = np.linalg.norm(values, axis=1, keepdims=True) / np.sqrt(values.shape[1])
    whole, total = copy.path.with_suffix(".whole.rbe"), 0.0
    shutil.copy(copy.path, whole)
    for seed in range(draws):
        noise = np.random.default_rng(seed).standard_normal(values.shape)
        copy.write(tensor.name, values + (size * sizes * noise).astype(np.float32))
        with Model.open(copy.path, verify=False) as model, Model.open(whole, verify=False) as source:
            total += divergence(model, source, tokens, window=32, threads=1).kl
    copy.write(tensor.name, values)
    return total / draws / size**2


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "qwen3_moe", "qwen2_moe", "lfm2", "qwen3_5", "granite4"])
def test_they_foretell_the_divergence_of_white_errors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is fed back, so that all of H's diagonal counts."""
    changes = {"num_experts_per_tok": 6} if name == "qwen2_moe" else {}  # of 6: there is no choice
    copy, tensors = made(name, tmp_path, **changes)
    tokens = text_of(copy, 640)

    def without_feedback(total: np.ndarray, *_: object) -> np.ndarray:
        return np.diag(1 / np.sqrt(np.maximum(np.diag(total), 1e-30))).astype(np.float32)

    monkeypatch.setattr(curvature, "feedback_factor", without_feedback)
    found = Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7).sensitivities
    assert found.keys() == {tensor.name for tensor in tensors}
    ratios = [noisy_cost(copy, tensor, tokens, 0.05, 3) / found[tensor.name] for tensor in tensors]
    assert np.median(ratios) == pytest.approx(1, abs=0.25), ratios
    # an error before a router also chooses other experts, which no gradient knows
    assert min(ratios) > 0.4 and max(ratios) < (5 if name == "qwen3_moe" else 2.5), ratios


def test_they_do_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, tensors = made("qwen3", tmp_path)
    tokens = text_of(copy, 200)
    before = copy.path.read_bytes()
    expected = Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7, 1)
    assert min(expected.sensitivities.values()) > 0
    other = Curvature(copy, tensors, cut(tokens[:192], 32), lambda tensor: 7, 3)  # whole windows count
    assert other.sensitivities == expected.sensitivities
    for tensor in tensors:
        first, second = expected.factor(tensor.name), other.factor(tensor.name)
        assert (first is None) == (second is None) and (first is None or np.array_equal(first, second)), tensor.name
    assert expected.factor("norm") is None
    assert copy.path.read_bytes() == before


def test_a_factor_is_of_what_the_matrix_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the mean over windows of G^T G, rows weighed by their size, damped by a tenth."""
    copy, tensors = made("llama", tmp_path)
    tokens, name = text_of(copy, 64), "layers.1.attention.o"
    found = Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7)
    (tensor,) = (tensor for tensor in tensors if tensor.name == name)
    values = tensor.read().astype(np.float64)
    total = np.zeros((tensor.cols, tensor.cols))

    def show(gradient: Gradient) -> None:
        if gradient.name == name and gradient.x is not None:
            for start in range(0, 64, 32):
                of_window = gradient.d[start : start + 32].T.astype(np.float64) @ gradient.x[start : start + 32]
                of_window *= np.sqrt((values**2).mean(axis=1))[:, None]
                total[:] += of_window.T @ of_window / 2

    with Model.open(copy.path) as model, model.session(context=32, kv="f32") as session:
        states = [np.concatenate([session.embed(tokens[start : start + 32]) for start in (0, 32)])]
        for layer in range(2):
            behind = states[-1].copy()
            for start in (0, 32):
                session.run_layers(layer, 1, behind[start : start + 32])
            states.append(behind)
        with model.gradients(tokens=1024, context=32) as gradients:
            d_hidden = gradients.head(states[2], window=32, seed=0).d_hidden
            gradients.layer(1, states[1], d_hidden, show, window=32)
    block = trellis.rotation_block(tensor.cols)
    expected = feedback_factor(total.astype(np.float32), block, 7, WordLoss.damping)
    factor = found.factor(name)
    assert factor is not None and np.abs(factor - expected).max() < 1e-3 * np.abs(expected).max()
    left = (1 / np.diag(factor)[: tensor.cols].astype(np.float64) ** 2).sum() / 64
    assert found.sensitivities[name] == pytest.approx(left, rel=1e-3)


def test_it_goes_on_and_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would push itself out of the cache is not kept there, and gives the same."""
    copy, tensors = made("llama", tmp_path)
    tokens = text_of(copy, 96)
    keeping = Keeping(Kept(tmp_path / "kept"), "work")
    made_factors: list[int] = []

    def count(total: np.ndarray, *arguments: object) -> np.ndarray:
        made_factors.append(len(total))
        if len(made_factors) == stop_at:
            raise Cancelled
        return feedback_factor(total, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(curvature, "feedback_factor", count)
    stop_at = 10  # in the first layer; the head and the second one are done

    def run(keeping: Keeping | None) -> Curvature:
        return Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7, keeping=keeping)

    def states() -> int:
        """How many of the text are kept, before a layer, and gradients behind one."""
        sizes = [path.stat().st_size - 4 * 96 * 64 for path in (tmp_path / "kept").iterdir()]
        return sum(0 <= size < 200 for size in sizes)

    with pytest.raises(Cancelled):
        run(keeping)
    assert states() == 3  # before the first layer, and the gradients behind and before it
    stop_at = 0
    made_factors.clear()
    found = run(keeping)
    assert len(made_factors) == 8, "those of the first layer and that of the embedding"
    assert run(keeping).sensitivities == found.sensitivities and len(made_factors) == 8
    assert states() == 0
    run_alone = run(None)
    monkeypatch.setattr(array_store, "KEPT_BYTES", 1000)
    other = Keeping(Kept(tmp_path / "other"), "work")
    assert run(other).sensitivities == found.sensitivities == run_alone.sensitivities
    assert not list((tmp_path / "other").iterdir())


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One packing of a model takes away what it has done with, and another one goes on all the same."""
    copy, tensors = made("llama", tmp_path)
    tokens = text_of(copy, 96)
    keeping = Keeping(Kept(tmp_path / "kept"), "work")
    calls: list[int] = []
    third = 3

    def count(total: np.ndarray, *arguments: object) -> np.ndarray:
        calls.append(len(total))
        if len(calls) == third:  # in the second layer: all that passes goes, and what is found of the head
            for path in (tmp_path / "kept").iterdir():
                path.unlink()
        return feedback_factor(total, *arguments)  # type: ignore[arg-type]

    expected = Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7)
    monkeypatch.setattr(curvature, "feedback_factor", count)
    assert (
        Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7, keeping=keeping).sensitivities
        == expected.sensitivities
    )
    calls.clear()
    third = 0
    again = Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7, keeping=keeping)
    assert again.sensitivities == expected.sensitivities and 0 < len(calls) < len(tensors)
    (next((tmp_path / "kept").iterdir())).unlink()
    calls.clear()
    third = 1  # what was there at first is not any more
    assert (
        Curvature(copy, tensors, cut(tokens, 32), lambda tensor: 7, keeping=keeping).sensitivities
        == expected.sensitivities
    )
    for tensor in tensors:
        one, other = again.factor(tensor.name), expected.factor(tensor.name)
        assert (one is None) == (other is None) and (one is None or np.array_equal(one, other)), tensor.name


def test_a_text_shorter_than_a_window(tmp_path: Path) -> None:
    copy, tensors = made("llama", tmp_path)
    found = Curvature(copy, tensors, cut(text_of(copy, 20), 32), lambda tensor: 7).sensitivities
    assert all(0 < value < np.inf for value in found.values())


def test_curvature_is_that_of_the_gradients(dense: PackReport) -> None:
    """Window by window, against NumPy in double precision; what is no array of float32, row by row, is refused."""
    hidden = np.random.default_rng(1).standard_normal((30, 64)).astype(np.float32)
    d_hidden = np.random.default_rng(2).standard_normal((30, 64)).astype(np.float32)
    seen = set()
    with Model.open(dense.path) as model, model.gradients(tokens=30, context=12) as gradients:

        def show(gradient: Gradient) -> None:
            if gradient.x is None:
                return
            seen.add(gradient.name)
            total = np.ones((gradient.cols, gradient.cols), np.float32)
            n_rows = gradient.d.shape[1]
            bad = [
                (TypeError, gradient.weighed(np.ones(n_rows)), total),  # type: ignore[arg-type]
                (TypeError, dataclasses.replace(gradient, d=gradient.d[:, ::2]), total),
                (OptionError, dataclasses.replace(gradient, d=gradient.d[:7]), total),
                (OptionError, dataclasses.replace(gradient, x=gradient.x[:, :5].copy()), total),
                (OptionError, dataclasses.replace(gradient, x=None), total),
                (OptionError, gradient, total[:5]),
                (TypeError, gradient, total[:, ::-1]),
            ]
            for error, of, to in bad:
                with pytest.raises(error):
                    gradients.add_curvature(of, to)
            gradients.add_curvature(gradient, total)
            expected = np.ones((gradient.cols, gradient.cols))
            for start in range(0, 30, 12):
                x, d = (array[start : start + 12].astype(np.float64) for array in (gradient.x, gradient.d))
                of_window = d.T @ x
                expected += of_window.T @ of_window
            np.testing.assert_allclose(np.tril(total), np.tril(expected), rtol=1e-4, atol=1e-5 * expected.max())

        gradients.layer(1, hidden, d_hidden, show, window=12)
    assert len(seen) == 7
