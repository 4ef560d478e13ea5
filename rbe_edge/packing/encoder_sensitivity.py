"""How much an encoder suffers from errors in each of its matrices, measured (docs/encoders.md).

One matrix after the other is encoded at one rate, as it would be for the file, and put into the copy with dense
weights. The texts run from its layer on, and the cosine distance of what comes out from what comes out of the whole
model is taken: of pooled vectors, or of hidden states where nothing is pooled. Encoders are small, so every matrix of a
layer is measured. The embedding gets noise in its place: of it only the rows of the tokens of the texts are changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.packing import bands, schedule
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping, key_of
from rbe_edge.packing.replay import Replay
from rbe_edge.packing.schedule import encode_units, layer_and_part, pass_units
from rbe_edge.packing.sensitivity import PROBE, Factor
from rbe_edge.runtime.encoder_agreement import cosine_distances
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]

TOKENS = 1536
"""That each matrix is measured on, about."""

OF_WORDS = 0.5
"""Cosine distance for a unit of relative squared error of a matrix that gives words: what an error of the same size in
the vectors that it reads costs."""

_DIGITS = 4


@dataclass(frozen=True)
class EncoderMeasurement:
    """As sensitivity.Measurement. pooling: which vector is compared, None for that of every token."""

    copy: DenseCopy
    tensors: Sequence[TensorPlan]
    windows: Sequence[Sequence[int]]
    seed_of: Callable[[TensorPlan], int]
    factor: Factor
    pooling: str | None
    has_words: bool
    threads: int | None = None
    keeping: Keeping | None = None


def measured(measurement: EncoderMeasurement, forecast: Forecast) -> dict[str, float]:
    """Sensitivities of all tensors: cosine distance per unit of relative squared error, as it is on a Gaussian. The
    copy is as before when this returns, not when it raises."""
    kept, keeping = {}, measurement.keeping
    if keeping is not None and (content := keeping.kept.read(_key(keeping))) is not None:
        kept = {name: float(value) for name, value in json.loads(content).items()}
    found = {tensor.name: kept[tensor.name] for tensor in measurement.tensors if tensor.name in kept}
    missing = [tensor for tensor in _ordered(measurement.tensors) if tensor.name not in found]
    if not missing:
        return found
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(measurement.copy.path, verify=False))
        replay = stack.enter_context(Replay(model, _scored(measurement.windows), measurement.threads))
        expected = _vectors(replay, measurement.pooling)
        for number, tensor in enumerate(missing, len(measurement.tensors) - len(missing) + 1):
            what = f"measuring {number} of {len(measurement.tensors)}"
            found[tensor.name] = float(
                f"{_of_tensor(measurement, tensor, replay, expected, what, forecast):.{_DIGITS}g}"
            )
            if keeping is not None:
                keeping.kept.write(_key(keeping), json.dumps(found).encode())
    return found


def _key(keeping: Keeping) -> str:
    return key_of("encoder sensitivity", keeping.key, PROBE, TOKENS, repr(trellis.CODEBOOKS[PROBE[0]]))


def _ordered(tensors: Sequence[TensorPlan]) -> list[TensorPlan]:
    """What is not in layers first, then layer by layer."""

    def place(tensor: TensorPlan) -> tuple[int, str]:
        layer, _ = layer_and_part(tensor.name)
        return (-1 if layer is None else layer, tensor.name)

    return sorted(tensors, key=place)


def _scored(windows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The first, up to so many tokens."""
    chosen: list[Sequence[int]] = []
    for window in windows:
        if sum(map(len, chosen)) >= TOKENS:
            break
        chosen.append(window)
    return chosen


def _of_tensor(
    measurement: EncoderMeasurement,
    tensor: TensorPlan,
    replay: Replay,
    expected: Sequence[FloatArray],
    what: str,
    forecast: Forecast,
) -> float:
    layer, _ = layer_and_part(tensor.name)
    if layer is None:
        gives_words = measurement.has_words and tensor.name == measurement.copy.lm_head
        words = OF_WORDS if gives_words else 0.0
        looked_up = _of_embedding(measurement, replay, expected, what, forecast) if tensor.name == "embedding" else 0.0
        return looked_up + words
    values, copy = tensor.read(), measurement.copy
    factor, seed = measurement.factor(tensor.name), measurement.seed_of(tensor)
    with forecast.doing("encoding", what, encode_units(values.size, PROBE)) as report:
        encoded = trellis.encode(values, PROBE, seed, measurement.threads, report, factor)
    assert encoded.decoded is not None
    replay.advance(layer)
    copy.write(tensor.name, encoded.decoded)
    distance = _distance(measurement, replay, expected, what, forecast)
    copy.write(tensor.name, values)
    return distance / GAUSSIAN_ERROR[PROBE]


def _of_embedding(
    measurement: EncoderMeasurement, replay: Replay, expected: Sequence[FloatArray], what: str, forecast: Forecast
) -> float:
    """Noise of the size that the probe's error has, relative to each row."""
    copy = measurement.copy
    rows = np.unique(np.concatenate([np.asarray(window) for window in measurement.windows]))
    whole = copy.read("embedding").reshape(-1, replay.hidden[0].shape[1])
    exact = np.array(whole[rows])
    noise = np.random.default_rng(1).standard_normal(exact.shape, np.float32)
    noise *= np.sqrt(GAUSSIAN_ERROR[PROBE] * np.mean(exact**2, axis=1, keepdims=True, dtype=np.float32))
    copy.write_rows("embedding", rows, exact + noise)
    replay.embed()
    distance = _distance(measurement, replay, expected, what, forecast)
    copy.write_rows("embedding", rows, exact)
    replay.embed()
    return distance / GAUSSIAN_ERROR[PROBE]


def _vectors(replay: Replay, pooling: str | None) -> list[FloatArray]:
    """Of each window what is compared: float32 [1][width], or [tokens][width]."""
    found = []
    for x in replay.last():
        if pooling == "mean":
            x = x.mean(axis=0, keepdims=True)
        elif pooling == "max":
            x = x.max(axis=0, keepdims=True)
        elif pooling is not None:
            x = x[:1] if pooling == "cls" else x[-1:]
        found.append(x)
    return found


def _distance(
    measurement: EncoderMeasurement, replay: Replay, expected: Sequence[FloatArray], what: str, forecast: Forecast
) -> float:
    weights, n_tokens = measurement.copy.weights, sum(map(len, replay.hidden))
    units = pass_units(weights, replay.layer, schedule.layers_of(weights), n_tokens)
    with forecast.doing("passing", what, units):
        found = _vectors(replay, measurement.pooling)
    return float(np.mean(cosine_distances(np.concatenate(expected), np.concatenate(found))))


def token_energies(windows: Sequence[Sequence[int]], rows: int) -> Mapping[str, Sequence[float]]:
    """What errors in each band of the embedding cost, relative to one another: how often its tokens occur."""
    tokens = np.concatenate([np.asarray(window, np.int64) for window in windows])
    return {"embedding": list(bands.by_band(tokens, np.ones(len(tokens)), rows))}


def expected(weights: schedule.Weights, tensors: Sequence[TensorPlan]) -> dict[str, float]:
    """What measured() will have to do (schedule.py)."""
    layers = schedule.layers_of(weights)
    inside = [tensor for tensor in tensors if layer_and_part(tensor.name)[0] is not None]
    passing = sum(pass_units(weights, layer_and_part(tensor.name)[0] or 0, layers, TOKENS) for tensor in inside)
    encoding = sum(encode_units(tensor.rows * tensor.cols, PROBE) for tensor in inside)
    return {"passing": passing + 3 * pass_units(weights, 0, layers, TOKENS), "encoding": encoding}
