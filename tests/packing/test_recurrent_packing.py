"""Models with recurrent layers, packed: what their matrices read is found, and little is lost."""

from __future__ import annotations

import contextlib
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
NAMES = ("qwen3_5", "granite4")
MATRICES = ("q", "k", "v", "gate", "o")

DoubleArray = npt.NDArray[np.float64]


@pytest.fixture(scope="module", params=NAMES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS[request.param], tmp_path_factory.mktemp("recurrent") / request.param)


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
        assert {f"layers.0.recurrence.{part}" for part in MATRICES} <= set(coded)
        small = ("decay", "beta", "_taps", "rate", "skip", "bias", "norm")
        assert not [name for name in coded if name.endswith(small)]
        for name in coded:
            copy.write(name, model.tensor_rows(name))
    rebuilt, found = logits_of(dense.path), logits_of(packed)
    of_activations, of_weights = (np.sqrt(np.square(logits - rebuilt).mean()) for logits in (found, exact))
    assert of_activations < 0.1 * rebuilt.std()
    if planes == (4,):
        assert of_activations < 0.5 * of_weights


def silu(x: DoubleArray) -> DoubleArray:
    return x / (1 + np.exp(-x))


def mixed(rows: dict[str, DoubleArray], read: DoubleArray, heads: tuple[int, int], epsilon: float) -> DoubleArray:
    """What the last matrix of a recurrent layer reads. rows: its tensors. read [n][width]: the norm of the stream.
    heads: of keys and of values."""
    n_keys, n_values = heads

    def convolved(part: str) -> DoubleArray:
        taps = rows[f"{part}_taps"]
        padded = np.concatenate([np.zeros((taps.shape[1] - 1, len(taps))), read @ rows[part].T])
        found = sum(padded[t : t + len(read)] * taps[:, t] for t in range(taps.shape[1]))
        return silu(found + rows.get(f"{part}_taps.bias", 0.0))

    of_keys = n_values // n_keys
    q, k = (convolved(part).reshape(len(read), n_keys, -1).repeat(of_keys, 1) for part in "qk")
    v = convolved("v").reshape(len(read), n_values, -1)
    steps = np.log1p(np.exp(read @ rows["decay"].T + rows["decay.bias"]))
    decays = np.exp(-rows["rate"] * steps)
    is_delta = "beta" in rows
    if is_delta:
        q, k = (x / np.sqrt(np.square(x).sum(-1, keepdims=True) + 1e-6) for x in (q, k))
        q = q / np.sqrt(q.shape[-1])
        shares = 1 / (1 + np.exp(-(read @ rows["beta"].T)))
    state, y = np.zeros((n_values, k.shape[-1], v.shape[-1])), np.zeros_like(v)
    for t in range(len(read)):
        state *= decays[t][:, None, None]
        if is_delta:
            new = (v[t] - np.einsum("hkv,hk->hv", state, k[t])) * shares[t][:, None]
        else:
            new = v[t] * steps[t][:, None]
        state += k[t][:, :, None] * new[:, None, :]
        y[t] = np.einsum("hkv,hk->hv", state, q[t])
    gate = silu(read @ rows["gate"].T).reshape(y.shape)
    if is_delta:
        return (normed(y, epsilon) * rows["gated_norm"] * gate).reshape(len(read), -1)
    gated = ((y + rows["skip"].T * v) * gate).reshape(len(read), n_keys, -1)
    return normed(gated, epsilon).reshape(len(read), -1) * rows["gated_norm"]


def normed(x: DoubleArray, epsilon: float) -> DoubleArray:
    found: DoubleArray = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + epsilon)
    return found


def test_what_the_matrices_of_a_recurrent_layer_read(source: Path, tmp_path: Path) -> None:
    """Four the norm of the stream, the last what heads give behind their norm and their gate."""
    dense = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    windows = read_windows(dense.path, TEXT, 600, 32)
    with Model.open(dense.path) as model, model.session(context=64, kv="f32") as session:
        known = {key: float(str(model.metadata[key])) for key in model.metadata if key.endswith("epsilon")}
        heads = tuple(int(str(model.metadata[f"recurrence.{part}_heads"])) for part in ("key", "value"))
        place = "layers.0.recurrence."
        rows = {
            name.removeprefix(place): model.tensor_rows(name).astype(np.float64)
            for name in model.tensors
            if name.startswith(place)
        }
        reads: list[DoubleArray] = []
        mixes: list[DoubleArray] = []
        for window in windows:
            reads.append(normed(session.embed(window).astype(np.float64), known["norm.epsilon"]) * rows["norm"])
            own = known.get("recurrence.epsilon", known["norm.epsilon"])
            mixes.append(mixed(rows, reads[-1], (heads[0], heads[1]), own))
    n = sum(map(len, windows))
    with Calibration(DenseCopy(dense.path, dense.areas), windows) as calibration:
        for name in MATRICES:
            values = mixes if name == "o" else reads
            moment = (sum(one.T @ one for one in values) / n).astype(np.float32)
            factor = calibration.factor(f"{place}{name}", 16, 7)
            assert factor is not None
            exact = feedback_factor(moment, 16, 7)
            assert np.abs(factor - exact).max() < 2e-3 * np.abs(exact).max(), name
        assert calibration.factor(f"{place}v_taps", 16, 7) is None


@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_calibrated_it_loses_less(source: Path, tmp_path: Path, effort: EffortName) -> None:
    """By feedback alone where it is quick: how much matrices bear is then estimated by what SmolLM2 bore, which says
    nothing of models of random weights."""
    (tmp_path / "text.txt").write_text(TEXT)
    exact = logits_of(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path, TEXT)
    losses = []
    with fixed_planes((3,), (3,)) if effort == "quick" else contextlib.nullcontext():
        for calibrate in ("none", tmp_path / "text.txt"):
            out = tmp_path / "m.rbe"
            pack(source, out, PackOptions(bits=4, calibrate=calibrate, effort=effort, force=True))  # type: ignore[arg-type]
            losses.append(float(np.square(logits_of(out, TEXT) - exact).mean()))
    assert losses[1] < losses[0]


def test_power_modes_may_leave_recurrent_steps_out(source: Path, tmp_path: Path) -> None:
    with fixed_planes((4, 2), (4,)):
        path = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none")).path
    with Model.open(path) as model:
        moves = {(move.part, move.layer, move.planes) for move in moves_of(model)}
    assert {("attention", layer, planes) for layer in range(4) for planes in (1, SKIP)} <= moves


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_what_decides_is_stored_as_the_source_has_it(tmp_path: Path, kind: str) -> None:
    """Decay and beta; rates, taps and vectors have 32 bits."""
    source = tiny_models.write(tiny_models.MODELS["qwen3_5"], tmp_path / "source", kind)
    path = pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none")).path
    with Model.open(path) as model:
        kinds = {
            part: model.tensors[f"layers.0.recurrence.{part}"].kind for part in ("decay", "beta", "rate", "q_taps")
        }
    stored = {"F32": "fp32", "BF16": "bf16"}[kind]
    assert kinds == {"decay": stored, "beta": stored, "rate": "fp32", "q_taps": "fp32"}
