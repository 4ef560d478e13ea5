"""Models with short convolutions, packed: what their matrices read is found, and little is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import Model
from rbe_edge.evaluation.effort_search import moves_of
from rbe_edge.packing.calibration import Calibration, feedback_factor, read_windows
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP

TEXT = "The small river runs through the town, and in the evening the lamps are lit along it. " * 60
TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(40)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS["lfm2_bias"], tmp_path_factory.mktemp("hybrid") / "source")


def logits_of(path: Path, text: str = "") -> npt.NDArray[np.float32]:
    """Of TOKENS, or of the middle of a text."""
    with Model.open(path, verify=False) as model, model.session(kv="f32", threads=1) as session:
        tokens = model.tokenize(text)[700:764] if text else TOKENS
        found = session.score(tokens, logits=True).logits
    assert found is not None
    return found


@pytest.mark.parametrize("planes", [(4,), (4, 4)])
def test_the_same_as_its_dense_reconstruction(source: Path, tmp_path: Path, planes: tuple[int, ...]) -> None:
    """But for activations, which matrices in a trellis read as 8 bits."""
    with fixed_planes(planes, planes):
        packed = pack(source, tmp_path / "packed.rbe", PackOptions(bits=4, calibrate="none")).path
    dense = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    exact = logits_of(dense.path)
    copy = DenseCopy(dense.path, dense.areas)
    with Model.open(packed) as model:
        coded = [name for name, tensor in model.tensors.items() if tensor.plane_bits]
        assert {"layers.0.convolution.in", "layers.2.convolution.out"} <= set(coded)
        for name in coded:
            copy.write(name, model.tensor_rows(name))
    rebuilt, found = logits_of(dense.path), logits_of(packed)
    of_activations, of_weights = (np.sqrt(np.square(logits - rebuilt).mean()) for logits in (found, exact))
    assert of_activations < 0.05 * rebuilt.std()
    if planes == (4,):
        assert of_activations < 0.5 * of_weights


def test_what_the_matrices_of_a_convolution_read(source: Path, tmp_path: Path) -> None:
    """Of `in` the norm of the stream; of `out` what the gates let through."""
    dense = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    windows = read_windows(dense.path, TEXT, 600, 32)
    with Model.open(dense.path) as model, model.session(context=64, kv="f32") as session:
        rows = {
            name: model.tensor_rows(f"layers.0.convolution.{name}")
            for name in ("norm", "in", "in.bias", "taps", "taps.bias")
        }
        sums = {"in": np.zeros((64, 64)), "out": np.zeros((64, 64))}
        for window in windows:
            hidden = session.embed(window).astype(np.float64)
            read = hidden / np.sqrt(np.square(hidden).mean(1, keepdims=True) + 1e-5) * rows["norm"]
            gate, other, x = np.split(read @ rows["in"].T + rows["in.bias"], 3, axis=1)
            padded = np.concatenate([np.zeros((2, 64)), gate * x])
            mixed = other * (sum(padded[t : t + len(x)] * rows["taps"][:, t] for t in range(3)) + rows["taps.bias"])
            for name, values in (("in", read), ("out", mixed)):
                sums[name] += values.T @ values / sum(map(len, windows))
    with Calibration(DenseCopy(dense.path, dense.areas), windows) as calibration:
        for name, moment in sums.items():
            factor = calibration.factor(f"layers.0.convolution.{name}", 16, 7)
            assert np.allclose(factor, feedback_factor(moment.astype(np.float32), 16, 7), atol=1e-3), name
        assert calibration.factor("layers.0.convolution.taps", 16, 7) is None


@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_calibrated_it_loses_less(source: Path, tmp_path: Path, effort: EffortName) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    exact = logits_of(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path, TEXT)
    losses = []
    for calibrate in ("none", tmp_path / "text.txt"):
        out = tmp_path / "m.rbe"
        pack(source, out, PackOptions(bits=4, calibrate=calibrate, effort=effort, force=True))  # type: ignore[arg-type]
        losses.append(float(np.square(logits_of(out, TEXT) - exact).mean()))
    assert losses[1] < losses[0]


def test_power_modes_may_leave_convolutions_out(source: Path, tmp_path: Path) -> None:
    with fixed_planes((4, 2), (4,)):
        path = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none")).path
    with Model.open(path) as model:
        moves = {(move.part, move.layer, move.planes) for move in moves_of(model)}
    assert {("attention", layer, planes) for layer in range(4) for planes in (1, SKIP)} <= moves
