"""A measured check of what curvature.py foretells: how much a model suffers from errors in the few matrices that count
most (docs/codec.md, "Deciding bits per tensor").

One matrix after the other is encoded at one rate as it would be for the file, with feedback, and put into the copy with
dense weights; the C engine runs the text through it from its layer on, and the KL divergence of what it predicts from
what the whole model predicts is taken. Then the original is put back. Divergence is proportional to the squared
error, so one rate tells about all. Memory: one matrix, predictions (Effort.scored_bytes), hidden states of the text.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing import schedule, storage
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import EFFORTS, Effort
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping, key_of
from rbe_edge.packing.schedule import RATES, encode_units, layer_and_part, pass_units
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS
from rbe_edge.runtime.session import Session
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]

PROBE = (2,)
"""The planes that are tried: quick to encode, and the error is large enough to be measured on few tokens."""

MIN_KL_TOKENS = 256
_PIECE_BYTES = 32 << 20  # of logits at a time
_DIGITS = 4  # what is kept: more would say nothing


Factor = Callable[[str], FloatArray | None]
"""factor(name): for feedback."""


@dataclass(frozen=True)
class Measurement:
    """What is measured, on what. windows: those that are scored. seed_of: of a tensor's rotation.
    factor: for feedback. keeping: what is measured is kept there, and taken from there; an interrupted measurement goes
    on."""

    copy: DenseCopy
    tensors: Sequence[TensorPlan]
    windows: Sequence[Sequence[int]]
    seed_of: Callable[[TensorPlan], int]
    factor: Factor
    threads: int | None = None
    effort: Effort = EFFORTS["normal"]
    keeping: Keeping | None = None


def coded(tensors: Iterable[TensorPlan]) -> list[TensorPlan]:
    """Those of which there is something to decide, in the order in which they are measured: that of the file."""
    return [
        tensor
        for tensor in tensors
        if tensor.role in storage.CODED_ROLES
        and tensor.grouped is None
        and storage.in_planes(tensor, PROBE) is not None
    ]


def largest(tensors: Sequence[TensorPlan], foretold: Mapping[str, float], n: int) -> list[TensorPlan]:
    """The n matrices of layers that count most, in the order of the layers. Embedding and lm_head take long to encode,
    and what they give is seen at once, so that little adds up behind them."""
    inside = [tensor for tensor in tensors if layer_and_part(tensor.name)[0] is not None and tensor.name in foretold]
    first = sorted(inside, key=lambda tensor: -foretold[tensor.name])[:n]
    return sorted(first, key=lambda tensor: (layer_and_part(tensor.name)[0], tensor.name))


def checked(
    measurement: Measurement, foretold: Mapping[str, float], forecast: Forecast | None = None
) -> dict[str, float]:
    """Sensitivities, nats per token and unit of relative squared error, as it is on a Gaussian: what is foretold, and
    what is measured of the largest. The copy is as before when this returns, not when it raises."""
    forecast = forecast or Forecast(None, RATES)
    wanted = largest(measurement.tensors, foretold, measurement.effort.checked)
    found = _load(measurement, wanted)
    missing = [tensor for tensor in wanted if tensor.name not in found]
    if missing:
        copy, threads = measurement.copy, measurement.threads
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(copy.path, verify=False))
            scored = _scored(measurement.windows, model.info.vocabulary, measurement.effort)
            probe = stack.enter_context(_Probe(model, copy, scored, threads, forecast))
            for number, tensor in enumerate(missing, len(wanted) - len(missing) + 1):
                found[tensor.name] = _measured(
                    measurement, tensor, probe, f"checking {number} of {len(wanted)}", forecast
                )
                _save(measurement, found)
    return {**foretold, **found}


def _measured(measurement: Measurement, tensor: TensorPlan, probe: _Probe, what: str, forecast: Forecast) -> float:
    copy, threads = measurement.copy, measurement.threads
    values, seed = tensor.read(), measurement.seed_of(tensor)
    factor = measurement.factor(tensor.name)
    with forecast.doing("encoding", what, encode_units(values.size, PROBE)) as report:
        encoded = trellis.encode(values, PROBE, seed, threads, report, factor)
    layer, _ = layer_and_part(tensor.name)
    assert layer is not None and encoded.decoded is not None
    probe.advance(layer)
    copy.write(tensor.name, encoded.decoded)
    kl = probe.divergence(what)
    copy.write(tensor.name, values)
    return float(f"{max(kl, 0.0) / GAUSSIAN_ERROR[PROBE]:.{_DIGITS}g}")


def _scored_tokens(vocabulary: int, effort: Effort) -> int:
    return max(min(effort.scored_tokens, effort.scored_bytes // (4 * vocabulary)), MIN_KL_TOKENS)


def _scored(windows: Sequence[Sequence[int]], vocabulary: int, effort: Effort) -> list[Sequence[int]]:
    """From all of the text."""
    n = -(-_scored_tokens(vocabulary, effort) // max(map(len, windows)))
    return [windows[number * len(windows) // n] for number in range(min(n, len(windows)))]


class _Probe:
    """Predictions of the model as the copy has it now, against those it began with. A context manager."""

    def __init__(
        self,
        model: Model,
        copy: DenseCopy,
        windows: Sequence[Sequence[int]],
        threads: int | None,
        forecast: Forecast,
    ) -> None:
        self._weights = copy.weights
        self._forecast = forecast
        self._threads = threads
        self._layer = 0
        self._n_layers = model.info.layers
        softcap = model.metadata.get("logit.softcap")
        self._softcap = float(softcap) if isinstance(softcap, int | float) else None
        offset, _ = copy.areas[copy.lm_head]
        shape = (model.info.vocabulary, model.info.width)
        self._head = np.memmap(copy.path, "<f4", "r", offset, shape)
        self._session: Session = model.session(
            context=max(map(len, windows)), threads=threads or 0, pass_tokens=MAX_PASS_TOKENS, kv="f32"
        )
        try:
            self._hidden = [self._session.embed(window) for window in windows]
            self._expected = [self._log_softmax(x) for x in self._last(self._hidden)]
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> _Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def advance(self, layer: int) -> None:
        """Runs the text up to the input of a layer, so that the layers before it are run once."""
        if layer == self._layer:
            return
        assert layer > self._layer
        for hidden in self._hidden:
            self._session.run_layers(self._layer, layer - self._layer, hidden)
        self._layer = layer

    def divergence(self, what: str) -> float:
        """Nats per token, where layers from the present one on may have changed."""
        total, n, n_tokens = 0.0, 0, sum(map(len, self._hidden))
        units = pass_units(self._weights, self._layer, self._n_layers, n_tokens) + self._head.size / 1e9 * n_tokens
        with self._forecast.doing("passing", what, units) as report:
            for expected, x in zip(self._expected, self._last(self._hidden, self._layer), strict=True):
                rows = max(_PIECE_BYTES // (4 * expected.shape[1]), 1)
                for start in range(0, len(x), rows):
                    total += self._kl(expected[start : start + rows], self._log_softmax(x[start : start + rows]))
                    report(n + start, n_tokens)
                n += len(x)
        return total / n

    def _last(self, hidden: Sequence[FloatArray], first: int = 0) -> Iterable[FloatArray]:
        """What the lm_head reads, window by window."""
        for states in hidden:
            parts: list[FloatArray] = []

            def keep(layer: int, point: int, x: FloatArray, parts: list[FloatArray] = parts) -> None:
                if point == _native.CAPTURE_LM_HEAD:
                    parts.append(x.copy())

            self._session.run_layers(first, self._n_layers - first, states.copy(), keep)
            yield np.concatenate(parts)

    def _log_softmax(self, x: FloatArray) -> FloatArray:
        """Log-probabilities float32 [n][vocabulary] of the lm_head's inputs x."""
        x = np.ascontiguousarray(x)
        vocabulary, width = self._head.shape
        out = np.empty((len(x), vocabulary), np.float32)
        head, states, to = (_native.pointer(array, ctypes.c_float) for array in (self._head, x, out))
        call = _native.library().rbe_log_probabilities
        status = call(head, vocabulary, width, states, len(x), self._softcap or 0.0, self._threads or 0, to)
        _native.check(status, PackError)
        return out

    def _kl(self, expected: FloatArray, given: FloatArray) -> float:
        """The sum over tokens, in nats."""
        nats = np.empty(len(expected))
        first, second = (_native.pointer(array, ctypes.c_float) for array in (expected, given))
        call = _native.library().rbe_divergence
        status = call(first, second, *expected.shape, self._threads or 0, _native.pointer(nats, ctypes.c_double))
        _native.check(status, PackError)
        return math.fsum(nats)


# ---- kept for the next size ----


def _load(measurement: Measurement, wanted: Sequence[TensorPlan]) -> dict[str, float]:
    """What of a measurement was kept, by tensor."""
    if measurement.keeping is None:
        return {}
    content = measurement.keeping.kept.read(_key(measurement.keeping))
    values = json.loads(content) if content is not None else {}
    return {tensor.name: float(values[tensor.name]) for tensor in wanted if tensor.name in values}


def _save(measurement: Measurement, values: dict[str, float]) -> None:
    """Keeps what is measured so far."""
    if measurement.keeping is not None:
        measurement.keeping.kept.write(_key(measurement.keeping), json.dumps(values).encode())


def _key(keeping: Keeping) -> str:
    return key_of("sensitivity", keeping.key)


def expected(
    tensors: Sequence[TensorPlan], weights: schedule.Weights, vocabulary: int, effort: Effort
) -> dict[str, float]:
    """What checked() will have to do, about: matrices of a middling size in the middle of the model (schedule.py)."""
    inside = [tensor.rows * tensor.cols for tensor in tensors if layer_and_part(tensor.name)[0] is not None]
    n = min(effort.checked, len(inside))
    if n == 0:
        return {}
    n_scored, layers = _scored_tokens(vocabulary, effort), schedule.layers_of(weights)
    head = weights.get("head", weights.get("embedding", 0)) / 1e9
    passing = (1 + n / 2) * pass_units(weights, 0, layers, n_scored) + (1 + n) * head * n_scored
    return {"passing": passing, "encoding": encode_units(n * sum(inside) // len(inside), PROBE)}


def work_key(original: str, effort: Effort) -> str:
    """Of what a measurement depends on. original: of the source and the text."""
    tables = [repr(trellis.CODEBOOKS[bits]) for bits in PROBE]
    return key_of("measured", original, PROBE, effort.checked, effort.scored_tokens, effort.scored_bytes, *tables)
