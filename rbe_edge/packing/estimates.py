"""How much a model suffers from errors in each of its matrices: estimated from one run of the model, where
sensitivity.py encodes and measures every one (docs/codec.md, "Effort").

An error of a matrix adds to the residual stream what its output adds times the relative error. So what counts is how
much of the stream a block writes: the mean over tokens of |W x|^2 / |h|^2, of the matrix W that writes it and the
stream h behind the block. x varies over four orders of magnitude between tokens of some models: the quotient of each
token does not. The matrices before W in the block count in proportion, by factors that are fitted to measurements.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing import schedule
from rbe_edge.packing.calibration import head_moment_key
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import key_of
from rbe_edge.packing.schedule import RATES, layer_and_part
from rbe_edge.packing.sensitivity import Measurement, coded
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]

FACTORS: Mapping[str, float] = {
    "attention.q": 0.1, "attention.k": 0.2, "attention.v": 1.0, "attention.o": 1.0,
    "feed_forward.gate": 0.5, "feed_forward.up": 0.5, "feed_forward.down": 1.0,
}  # fmt: skip
"""Nats per token and unit of what an error adds to the stream: see docs/codec.md, "Effort"."""

HEAD_FACTOR = 1.0

_DIGITS = 4  # what is used: more would say nothing
_WRITERS = {_native.CAPTURE_O: "attention.o", _native.CAPTURE_DOWN: "feed_forward.down"}


@dataclass(frozen=True)
class Flow:
    """What a model writes on a text. shares: of each layer, by the matrix that writes: the mean of |W x|^2 / |h|^2 as
    if W were white. logits: the mean variance of a logit over the lm_head's rows, as if they were white."""

    shares: Sequence[Mapping[str, float]]
    logits: float


def expected(measurement: Measurement) -> dict[str, float]:
    """What known() will have to do (schedule.py)."""
    weights = measurement.copy.weights
    n_tokens = sum(map(len, measurement.windows))
    return {"passing": schedule.pass_units(weights, 0, schedule.layers_of(weights), n_tokens)}


def known(measurement: Measurement, forecast: Forecast | None = None) -> dict[str, float]:
    """As sensitivity.known(), estimated: nats per token and unit of relative squared error."""
    keeping = measurement.keeping
    key = None if keeping is None else key_of("estimates", FACTORS, HEAD_FACTOR, keeping.original)
    content = None if keeping is None or key is None else keeping.kept.read(key)
    if content is not None:
        kept: dict[str, float] = json.loads(content)
        return kept
    flow = observe(measurement, forecast or Forecast(None, RATES))
    found = {tensor.name: sensitivity(tensor, flow) for tensor in coded(measurement.tensors)}
    if keeping is not None and key is not None:
        keeping.kept.write(key, json.dumps(found).encode())
    return found


def sensitivity(tensor: TensorPlan, flow: Flow) -> float:
    """Of one matrix. One that is neither in a layer nor reads the stream for logits is looked up, row by row: each row
    is as exact as those of the lm_head."""
    layer, part = layer_and_part(tensor.name)
    if layer is None:
        value = HEAD_FACTOR * flow.logits
    else:
        writer = "attention.o" if part.startswith("attention.") else "feed_forward.down"
        value = FACTORS.get(part, 1.0) * flow.shares[layer].get(writer, 0.0)
    return float(f"{value:.{_DIGITS}g}")


def observe(measurement: Measurement, forecast: Forecast) -> Flow:
    """Runs the text once through the copy, and keeps the second moment of what the lm_head reads for calibration."""
    copy, windows = measurement.copy, measurement.windows
    with Model.open(copy.path, verify=False) as model:
        n_layers, width = model.info.layers, model.info.width
        observer = _Observer(copy, n_layers, width, measurement.threads)
        n_tokens = sum(map(len, windows))
        units = schedule.pass_units(copy.weights, 0, n_layers, n_tokens)
        with (
            model.session(
                context=max(map(len, windows)), threads=measurement.threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
            ) as session,
            forecast.doing("passing", "measuring", units) as report,
        ):
            for number, window in enumerate(windows):
                hidden = session.embed(window)
                for layer in range(n_layers):
                    session.run_layers(layer, 1, hidden, observer.see)
                    observer.close(layer, hidden)
                report(number + 1, len(windows))
    keeping = measurement.keeping
    if keeping is not None:
        keeping.kept.write(head_moment_key(keeping.original), (observer.moment / np.float32(n_tokens)).data)
    return observer.flow(n_tokens)


class _Observer:
    """Sees what the matrices of a layer read, then what the layer gives."""

    def __init__(self, copy: DenseCopy, n_layers: int, width: int, threads: int | None) -> None:
        self._copy = copy
        self._threads = threads
        self._seen: dict[str, npt.NDArray[np.float64]] = {}  # of this layer: |x|^2 of each token
        self._sums: list[dict[str, float]] = [{} for _ in range(n_layers)]
        self._energies = [
            {part: _energy(copy, f"layers.{layer}.{part}") for part in _WRITERS.values()} for layer in range(n_layers)
        ]
        self.moment = np.zeros((width, width), np.float32)

    def see(self, layer: int, point: int, x: FloatArray) -> None:
        if point in _WRITERS:
            self._seen[_WRITERS[point]] = np.einsum("ij,ij->i", x, x, dtype=np.float64) / x.shape[1]
        elif point == _native.CAPTURE_LM_HEAD:
            sums = _native.pointer(self.moment, ctypes.c_float)
            add = _native.library().rbe_moment_add
            status = add(_native.pointer(x, ctypes.c_float), *x.shape, self._threads or 0, sums)
            _native.check(status, PackError)

    def close(self, layer: int, hidden: FloatArray) -> None:
        """hidden: what the layer gives."""
        stream = np.maximum(np.einsum("ij,ij->i", hidden, hidden, dtype=np.float64), 1e-30)
        for part, energy in self._seen.items():
            written = self._energies[layer][part] * energy
            total = float(np.sum(written / (written + stream)))
            self._sums[layer][part] = self._sums[layer].get(part, 0.0) + total
        self._seen.clear()

    def flow(self, n_tokens: int) -> Flow:
        shares = [{part: total / n_tokens for part, total in sums.items()} for sums in self._sums]
        read = float(np.trace(self.moment, dtype=np.float64)) / n_tokens  # |x|^2
        n_weights = self._copy.weights[self._copy.lm_head]
        return Flow(shares, 0.5 * read * _energy(self._copy, self._copy.lm_head) / n_weights)


def _energy(copy: DenseCopy, name: str) -> float:
    """|W|^2; 0 for a matrix that there is not."""
    if name not in copy.areas:
        return 0.0
    weights, piece = copy.read(name), 1 << 20
    return math.fsum(trellis.squared_norm(weights[at : at + piece]) for at in range(0, len(weights), piece))
