"""Sensitivities: what is measured is the divergence of the whole model, and it is measured once."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from rbe_edge.codes import trellis
from rbe_edge.errors import Cancelled
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing import estimates, sensitivity
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.calibration import Calibration, read_windows
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping, Kept
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.packing.schedule import RATES
from rbe_edge.packing.sensitivity import Measurement
from rbe_edge.packing.survey import Survey
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import log_softmax
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import TensorPlan

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 80


@pytest.fixture
def copy(dense: PackReport, tmp_path: Path) -> DenseCopy:
    shutil.copy(dense.path, tmp_path / "copy.rbe")
    return DenseCopy(tmp_path / "copy.rbe", dense.areas)


def predictions(path: Path, windows: Sequence[Sequence[int]]) -> np.ndarray:
    """Log-probabilities of every token of the windows, by the whole model."""
    with Model.open(path, verify=False) as model, model.session(context=64, kv="f32") as session:
        found = []
        for window in windows:
            session.rewind(0)
            logits = session.score(window, logits=True).logits
            assert logits is not None
            found.append(log_softmax(logits))
    return np.concatenate(found).astype(np.float64)


def test_it_is_the_divergence_of_the_whole_model(source: Path, dense: PackReport, copy: DenseCopy) -> None:
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    windows = read_windows(copy.path, TEXT, 28 * 32, 32)
    before = copy.path.read_bytes()
    effort = dataclasses.replace(EFFORTS["normal"], checked=3, scored_tokens=256)
    factors = surveyed(copy, tensors)
    names = ["layers.0.attention.q", "layers.1.feed_forward.down", "layers.1.feed_forward.up"]
    foretold = {tensor.name: 1.0 + (tensor.name in names) for tensor in tensors} | {"embedding": 9.0}
    found = sensitivity.checked(
        Measurement(copy, tensors, windows, lambda tensor: 7, factors.factor, effort=effort), foretold
    )
    assert copy.path.read_bytes() == before
    assert {name for name in foretold if found[name] != foretold[name]} == set(names), (
        "those that count most, of layers"
    )
    scored = [windows[number * len(windows) // 8] for number in range(8)]  # from all of the text
    exact = predictions(copy.path, scored)
    for name in names:
        (tensor,) = (tensor for tensor in tensors if tensor.name == name)
        values = tensor.read()
        factor = factors.factor(name)
        encoded = trellis.encode(values, sensitivity.PROBE, 7, None, None, factor)
        data = b"".join(encoded.data)
        copy.write(name, trellis.decode(data, sensitivity.PROBE, *values.shape, 7, encoded.tensor_scale))
        changed = predictions(copy.path, scored)
        copy.write(name, values)
        kl = float((np.exp(exact) * (exact - changed)).sum(axis=1).mean())
        assert found[name] * GAUSSIAN_ERROR[sensitivity.PROBE] == pytest.approx(kl, rel=0.02), name


def test_it_goes_on_and_is_taken_again(
    source: Path, copy: DenseCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def measure(measurement: Measurement, tensor: TensorPlan, *_: Any) -> float:
        if len(names) == 2:
            raise Cancelled
        names.append(tensor.name)
        return 0.5 + len(names)

    monkeypatch.setattr(sensitivity, "_measured", measure)
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    windows = read_windows(copy.path, TEXT, 28 * 32, 32)
    keeping = Keeping(Kept(tmp_path / "kept"), "work")
    foretold = {tensor.name: float(number) for number, tensor in enumerate(tensors)}
    measurement = Measurement(copy, tensors, windows, lambda tensor: 7, lambda *_: None, keeping=keeping)
    wanted = [tensor.name for tensor in sensitivity.largest(tensors, foretold, 4)]
    with pytest.raises(Cancelled):
        sensitivity.checked(measurement, foretold)
    assert names == wanted[:2]
    names.clear()
    found = sensitivity.checked(measurement, foretold)
    assert names == wanted[2:] and found[wanted[1]] == 2.5 and found[wanted[2]] == 1.5
    names.clear()
    assert sensitivity.checked(measurement, foretold) == found and names == []
    with pytest.raises(Cancelled):
        other = Keeping(keeping.kept, "other work")
        sensitivity.checked(dataclasses.replace(measurement, keeping=other), foretold)
    assert names == wanted[:2]


def surveyed(copy: DenseCopy, tensors: Sequence[TensorPlan], threads: int | None = None) -> Survey:
    windows = read_windows(copy.path, TEXT, 28 * 32, 32)
    return Survey(copy, tensors, windows, lambda tensor: 7, threads, Forecast(None, RATES))


def test_estimates_are_of_every_matrix(source: Path, copy: DenseCopy) -> None:
    """They follow the stream: what writes twice as much counts up to four times as much, and nothing before it more."""
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    found = estimates.estimated(tensors, surveyed(copy, tensors, 1).flow)
    assert set(found) == {tensor.name for tensor in tensors} and min(found.values()) > 0
    assert found == estimates.estimated(tensors, surveyed(copy, tensors, 3).flow)
    (tensor,) = (tensor for tensor in tensors if tensor.name == "layers.1.feed_forward.down")
    copy.write(tensor.name, 2 * tensor.read())
    louder = estimates.estimated(tensors, surveyed(copy, tensors).flow)
    assert 1.5 * found[tensor.name] < louder[tensor.name] < 4.1 * found[tensor.name]
    assert louder["layers.0.attention.o"] == found["layers.0.attention.o"]


def test_a_survey_gives_the_factors_of_the_original(source: Path, dense: PackReport, copy: DenseCopy) -> None:
    """Those of a calibration in which nothing is replaced, but for the order of sums, and for inputs of matrices that
    write, whose damping is relative to what most tokens have."""
    tensors = sensitivity.coded(plan_model(open_source(source)).tensors)
    survey = surveyed(copy, tensors)
    windows = read_windows(copy.path, TEXT, 28 * 32, 32)
    with Calibration(DenseCopy(dense.path, dense.areas), windows) as calibration:
        for tensor in tensors:
            block = trellis.rotation_block(tensor.cols)
            ours, theirs = survey.factor(tensor.name), calibration.factor(tensor.name, block, 7)
            assert (ours is None) == (theirs is None), tensor.name
            if ours is not None and theirs is not None and not tensor.name.endswith((".o", ".down")):
                assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max(), tensor.name


def test_two_and_a_half_bits_are_better_calibrated(tmp_path: Path) -> None:
    """On a model whose tokenizer is small beside its weights."""
    model = tiny_models.MODELS["llama"]
    wider = {"hidden_size": 256, "intermediate_size": 320, "num_hidden_layers": 1}
    source = tiny_models.write(dataclasses.replace(model, config={**model.config, **wider}), tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    exact = pack(source, tmp_path / "exact.rbe", PackOptions(bits=32))
    found = []
    for calibrate in ("none", tmp_path / "text.txt"):
        out = tmp_path / f"{len(found)}.rbe"
        report = pack(source, out, PackOptions(bits=2.5, calibrate=calibrate))  # type: ignore[arg-type]
        assert 2.3 < report.bits_per_weight <= 2.5
        with Model.open(out) as packed, Model.open(exact.path) as original:
            found.append(divergence(packed, original, TEXT[3000:], window=48, n_windows=12).kl)
    assert found[1] < 0.9 * found[0], found
