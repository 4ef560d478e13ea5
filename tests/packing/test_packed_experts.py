"""Packing of mixtures of experts: statistics of experts that few tokens reach, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from index_reader import read_index
from test_curvature import made, text_of
from tiny_models import MODELS, TinyModel

from rbe_edge import Model, _native
from rbe_edge.codes import trellis
from rbe_edge.format.experts import is_of_expert
from rbe_edge.packing import allocation
from rbe_edge.packing.calibration import feedback_factor
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.packing.estimates import estimated
from rbe_edge.packing.expert_statistics import mix_curvatures, mixed, point_of, prior_tokens
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.packing.schedule import RATES
from rbe_edge.packing.sensitivity import coded
from rbe_edge.packing.survey import Survey
from rbe_edge.runtime.text_windows import cut
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

COLS = 8


def moment(n: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, COLS)).astype(np.float32)
    return x.T @ x


def test_names_and_points() -> None:
    assert point_of("experts.3.gate") == point_of("experts.3.up") == _native.CAPTURE_EXPERT_INPUT + 3
    assert point_of("experts.12.down") == _native.CAPTURE_EXPERT_DOWN + 12
    assert point_of("feed_forward.down") is None and point_of("experts.router") is None
    assert is_of_expert("layers.0.experts.3.gate") and not is_of_expert("layers.0.experts.router.bias")


def test_few_tokens_are_mixed_with_those_of_all() -> None:
    of_all, prior = np.eye(COLS, dtype=np.float32), prior_tokens(COLS)
    np.testing.assert_allclose(mixed(np.zeros((COLS, COLS), np.float32), 0, of_all), of_all)
    many = moment(10_000, 1)
    np.testing.assert_allclose(mixed(many.copy(), 10_000, of_all), many / 10_000, atol=1e-3)
    few = moment(2, 2)
    expected = (few + prior * of_all) / (2 + prior)
    np.testing.assert_allclose(mixed(few.copy(), 2, of_all), expected, rtol=1e-6)
    assert np.linalg.matrix_rank(few) == 2 and np.linalg.matrix_rank(expected) == COLS


def test_curvatures_keep_the_size_of_what_an_expert_has_seen() -> None:
    names = [f"layers.0.experts.{expert}.{part}" for expert in range(3) for part in ("gate", "up", "down")]
    sums = {name: moment(900 if ".0." in name[9:] else 90, 3) for name in names if ".2." not in name[9:]}
    counts = {name: 900 if ".0." in name[9:] else 90 for name in sums}
    attention = sums["layers.0.attention.q"] = moment(50, 4)
    before = {name: float(np.trace(total)) for name, total in sums.items()}
    mix_curvatures(sums, counts, [*names, "layers.0.attention.q"])
    assert sums["layers.0.attention.q"] is attention
    for part in ("gate", "up", "down"):
        used, seldom, never = (f"layers.0.experts.{expert}.{part}" for expert in range(3))
        assert np.trace(sums[used]) == pytest.approx(before[used], rel=0.05)
        assert np.trace(sums[seldom]) == pytest.approx(before[seldom], rel=0.2)
        assert 0 < np.trace(sums[never]) < 0.1 * np.trace(sums[seldom])


def test_an_expert_is_calibrated_on_its_own_tokens(tmp_path: Path) -> None:
    """And on what a few tokens of all experts read; each matrix on what it reads."""
    copy, tensors = made("qwen3_moe", tmp_path)
    windows = cut(text_of(copy, 896), 32)
    read: dict[int, list[np.ndarray]] = {}
    with Model.open(copy.path) as model, model.session(context=64, kv="f32", threads=1) as session:

        def show(layer: int, point: int, x: np.ndarray) -> None:
            read.setdefault(point, []).append(x.copy())

        for window in windows:
            session.run_layers(0, 1, session.embed(window), show)
    survey = Survey(copy, tensors, windows, lambda tensor: 7, 1, Forecast(None, RATES))
    for first, part in ((_native.CAPTURE_EXPERT_INPUT, "gate"), (_native.CAPTURE_EXPERT_DOWN, "down")):
        of_each = [np.concatenate(read[first + expert]) for expert in range(6)]
        of_all = np.concatenate(of_each)
        assert len(of_all) == 2 * sum(map(len, windows))
        for expert, x in enumerate(of_each):
            moment = mixed(x.T @ x, len(x), of_all.T @ of_all / np.float32(len(of_all)))
            expected = feedback_factor(moment, trellis.rotation_block(len(moment)), 7)
            factor = survey.factor(f"layers.0.experts.{expert}.{part}")
            assert factor is not None
            assert np.abs(factor - expected).max() < 1e-3 * np.abs(expected).max(), (expert, part)


def test_a_shared_part_is_calibrated_on_all_tokens(tmp_path: Path) -> None:
    """What it writes counts by the square of its share."""
    copy, tensors = made("qwen2_moe", tmp_path)
    windows = cut(text_of(copy, 896), 32)
    read: dict[int, list[np.ndarray]] = {-1: []}
    with Model.open(copy.path) as model, model.session(context=64, kv="f32", threads=1) as session:

        def show(layer: int, point: int, x: np.ndarray) -> None:
            read.setdefault(point, []).append(x.copy())

        for window in windows:
            hidden = session.embed(window)
            session.run_layers(0, 1, hidden, show)
            read[-1].append(hidden)
    survey = Survey(copy, tensors, windows, lambda tensor: 7, 1, Forecast(None, RATES))
    for part, point in (("gate", _native.CAPTURE_UP), ("up", _native.CAPTURE_UP), ("down", _native.CAPTURE_DOWN)):
        factor = survey.factor(f"layers.0.shared.{part}")
        x = np.concatenate(read[point])
        assert factor is not None and len(x) == sum(map(len, windows))
        if part != "down":  # the first tokens count less in its damping
            expected = feedback_factor(x.T @ x / np.float32(len(x)), trellis.rotation_block(64), 7)
            assert np.abs(factor - expected).max() < 1e-3 * np.abs(expected).max()
    x, active, behind = (np.concatenate(read[point]) for point in (_native.CAPTURE_UP, _native.CAPTURE_DOWN, -1))
    share = 1 / (1 + np.exp(-(x @ copy.read("layers.0.shared.share"))))
    written = (copy.read("layers.0.shared.down") ** 2).sum() * (active**2).mean(axis=1) * share**2
    expected = float((written / (written + (behind**2).sum(axis=1))).mean())
    assert survey.flow.layers[0].shares["shared.down"] == pytest.approx(expected, rel=1e-4)
    costs = estimated(tensors, survey.flow)
    assert all(costs[f"layers.{layer}.shared.{part}"] > 0 for layer in (0, 1) for part in ("gate", "up", "down"))
    assert costs["layers.0.shared.down"] > max(costs[f"layers.0.experts.{expert}.down"] for expert in range(6))


@pytest.mark.parametrize("name", ["qwen2_moe", "granitemoeshared"])
@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_a_shared_part_is_packed(tmp_path: Path, name: str, effort: EffortName) -> None:
    source = tiny_models.write(MODELS[name], tmp_path / "source")
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, effort=effort))
    found = {tensor.name: tensor for tensor in report.tensors}
    assert all(found[f"layers.1.shared.{part}"].planes for part in ("gate", "up", "down"))
    assert name != "qwen2_moe" or found["layers.1.shared.share"].kind == "fp32"
    assert report.bits_per_weight <= 4 and report.held_out is not None and report.held_out.kl < 1


def with_an_idle_expert(directory: Path) -> Path:
    """A source of which layer 1 never chooses expert 4."""
    model = MODELS["lfm2_moe"]
    source = tiny_models.write(model, directory / "source")
    name = "model.layers.1.feed_forward.expert_bias"
    weights = tiny_models.tensors(model)
    bias = weights[name].copy()
    bias[4] = -50.0
    tiny_models.write_safetensors(source / "model.safetensors", {**weights, name: bias})
    return source


def test_curvature_of_an_expert_that_no_token_reaches(tmp_path: Path) -> None:
    """It costs little, and what is fed back in it is what the others say."""
    source = with_an_idle_expert(tmp_path)
    report = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    copy, tensors = DenseCopy(report.path, report.areas), coded(plan_model(open_source(source)).tensors)
    found = Curvature(copy, tensors, cut(text_of(copy, 320), 32), lambda tensor: 7, 1)
    assert found.sensitivities.keys() == {tensor.name for tensor in tensors}
    for part in ("gate", "up", "down"):
        idle, *others = (found.sensitivities[f"layers.1.experts.{expert}.{part}"] for expert in (4, 0, 1, 2, 3, 5))
        assert 0 < idle < min(others)
        assert found.factor(f"layers.1.experts.4.{part}") is not None


@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_a_mixture_is_packed(tmp_path: Path, effort: EffortName) -> None:
    """Each matrix of an expert gets bits and an error of its own, also of an expert that no token reaches."""
    source = with_an_idle_expert(tmp_path)
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, effort=effort))
    found = {tensor.name: tensor for tensor in report.tensors}
    assert all(tensor.planes for name, tensor in found.items() if is_of_expert(name))
    assert found["layers.1.experts.router"].kind == "fp32"
    assert (
        report.bits_per_weight <= 4 and report.held_out is not None and report.held_out.kl < 1
    )  # its logits have a standard deviation of 4.6
    unused = sum(found[f"layers.1.experts.4.{part}"].bytes for part in ("gate", "up", "down"))
    others = [sum(found[f"layers.1.experts.{e}.{part}"].bytes for part in ("gate", "up", "down")) for e in (0, 1, 2)]
    assert unused <= min(others)


def test_an_expert_by_itself(tmp_path: Path) -> None:
    """The same weights give the same bytes on any number of threads."""
    source = tiny_models.write(MODELS["qwen3_moe"], tmp_path / "source")
    files = []
    for threads in (1, 3):
        out = tmp_path / f"{threads}.rbe"
        pack(source, out, PackOptions(bits=4, effort="quick", threads=threads))
        index = read_index(out)
        files.append({name: index.tensor_data(name) for name in index.tensors})
    assert files[0] == files[1]


def test_routers_of_16_bits_stay_so(tmp_path: Path) -> None:
    source = tiny_models.write(MODELS["qwen3_moe"], tmp_path / "source", "BF16")
    pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none"))
    with Model.open(tmp_path / "m.rbe") as model:
        assert model.tensors["layers.0.experts.router"].kind == "bf16"


def test_many_tensors_have_a_table_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """As exact as the table has cells, and never above the budget."""
    rows = [[(100 + i, 4.0), (200 + 3 * i, 1.0), (400 + 7 * i, 0.1)] for i in range(40)]
    exact = allocation.solve(rows, 9_000)
    monkeypatch.setattr(allocation, "MAX_TABLE", 40 * 64)
    coarse = allocation.solve(rows, 9_000)

    def size(chosen: list[int]) -> int:
        return sum(row[index][0] for row, index in zip(rows, chosen, strict=True))

    def loss(chosen: list[int]) -> float:
        return sum(row[index][1] for row, index in zip(rows, chosen, strict=True))

    assert size(exact) <= 9_000 and size(coarse) <= 9_000
    assert loss(exact) <= loss(coarse) < 1.6 * loss(exact)


def test_tiny_models_of_other_widths(tmp_path: Path) -> None:
    """Experts too small for a trellis are stored in 16 bits."""
    config = {**MODELS["qwen3_moe"].config, "moe_intermediate_size": 2}
    source = tiny_models.write(TinyModel("narrow", config), tmp_path / "source")
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=8, calibrate="none"))
    kinds = {tensor.kind for tensor in report.tensors if is_of_expert(tensor.name)}
    assert kinds <= {"fp16", "trellis"} and "fp16" in kinds
    with Model.open(tmp_path / "m.rbe") as model, model.session() as session:
        session.prefill([1, 2, 3])
        assert np.isfinite(session.logits).all()
