"""Sensitivities: what is measured is the divergence of the whole model, and it is measured once."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from rbe_edge.codes import trellis
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing import sensitivity
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.calibration import Calibration, read_windows
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.progress import Progress
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


def test_it_is_the_divergence_of_the_whole_model(
    source: Path, dense: PackReport, copy: DenseCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "KL_TOKENS", 256)
    tensors = plan_model(open_source(source)).tensors
    windows = read_windows(copy.path, TEXT, 28 * 32, 32)
    before = copy.path.read_bytes()
    found = sensitivity.measure(copy, tensors, windows, lambda tensor: 7)
    assert copy.path.read_bytes() == before
    assert set(found) == {tensor.name for tensor in sensitivity.coded(tensors)} and min(found.values()) > 0
    scored = windows[-8:]
    exact = predictions(copy.path, scored)
    for name in ("embedding", "layers.0.attention.q", "layers.1.feed_forward.down"):
        (tensor,) = (tensor for tensor in tensors if tensor.name == name)
        with Calibration(DenseCopy(dense.path, dense.areas), windows[:-8]) as calibration:
            factor = calibration.factor(name, trellis.rotation_block(tensor.cols), 7)
        values = tensor.read()
        encoded = trellis.encode(values, sensitivity.PROBE, 7, None, None, factor)
        data = b"".join(encoded.data)
        copy.write(name, trellis.decode(data, sensitivity.PROBE, *values.shape, 7, encoded.tensor_scale))
        changed = predictions(copy.path, scored)
        copy.write(name, values)
        kl = float((np.exp(exact) * (exact - changed)).sum(axis=1).mean())
        assert found[name] * GAUSSIAN_ERROR[sensitivity.PROBE] == pytest.approx(kl, rel=0.02), name


class Measuring:
    """Stands for the measurement, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, copy: Any, tensors: Sequence[TensorPlan], *_: Any) -> dict[str, float]:
        self.times += 1
        return {tensor.name: 0.5 + number for number, tensor in enumerate(sensitivity.coded(tensors))}


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measuring:
    counted = Measuring()
    monkeypatch.setattr(sensitivity, "measure", counted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return counted


def known(source: Path, paths: Sequence[Path]) -> Mapping[str, float]:
    tensors = plan_model(open_source(source)).tensors
    return sensitivity.known(paths, None, tensors, [], lambda tensor: 0, None, Progress())  # type: ignore[arg-type]


def test_it_is_kept_and_taken_again(source: Path, tmp_path: Path, measuring: Measuring) -> None:
    paths = [tmp_path / ".kept.json", tmp_path / "cache" / "kept.json"]
    first = known(source, paths)
    assert known(source, paths) == first and measuring.times == 1 and not paths[1].exists()
    whole = json.loads(paths[0].read_text())
    missing = {name: value for name, value in whole["sensitivity"].items() if name != "embedding"}
    for bad in ("", "{", "[]", json.dumps({"sensitivity": missing}), json.dumps({"sensitivity": dict(first, head=-1)})):
        paths[0].write_text(bad)
        times = measuring.times
        assert known(source, paths) == first and measuring.times == times + 1, bad
    paths[0].unlink()
    paths[0].mkdir()  # where it cannot be written: the user's cache
    assert known(source, paths) == first and known(source, paths) == first
    assert json.loads(paths[1].read_text())["sensitivity"] == first
    times = measuring.times
    assert known(source, paths) == first and measuring.times == times


def test_a_place_for_each_source_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = [sensitivity.cache_paths(tmp_path, sha, text) for sha, text in (("a", "t"), ("b", "t"), ("a", "u"))]
    assert len({path for pair in places for path in pair}) == 6
    assert all(pair[0].parent == tmp_path and pair[1].is_relative_to(tmp_path / "cache") for pair in places)
    assert sensitivity.cache_paths(tmp_path, "a", "t") == places[0]


def test_another_size_of_the_same_source_measures_nothing(tmp_path: Path, measuring: Measuring) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    sizes = [
        pack(source, tmp_path / f"{bits}.rbe", PackOptions(bits=bits, calibrate=tmp_path / "text.txt")).file_bytes
        for bits in (3.5, 4.5)
    ]
    assert measuring.times == 1 and sizes[0] < sizes[1]
    (tmp_path / "other.txt").write_text(TEXT.replace("cake", "cat"))
    pack(source, tmp_path / "other.rbe", PackOptions(bits=3.5, calibrate=tmp_path / "other.txt"))
    assert measuring.times == 2


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
