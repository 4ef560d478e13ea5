"""One run of a text through the original model, from which a quick packing takes all that it needs: the feedback factor
of every input of a matrix, and how much of the stream each layer writes (docs/codec.md, "Effort").

Memory: what the matrices of one layer read, and the statistics of one of
them. The factors are upper triangles, 2 n^2 bytes for n columns, together a little less than the weights take at 4
bytes each. They are kept layer by layer, for an interrupted packing and for other sizes; those of a large model, which
would push all else out of the cache, lie beside the copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.packing import schedule
from rbe_edge.packing.array_store import ArrayStore
from rbe_edge.packing.calibration import DAMPING, POINTS, add_moment, feedback_factor
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.expert_statistics import mixed, point_of
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.hidden_states import HiddenStates
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.schedule import factor_units, layer_and_part
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]
Energies = npt.NDArray[np.float64]
"""|x|^2 of each token."""

_WRITERS = {
    _native.CAPTURE_O: ("attention.o", "convolution.out", "recurrence.o"),
    _native.CAPTURE_DOWN: ("feed_forward.down", "shared.down"),
    _native.CAPTURE_LAYER_OUTPUT: ("layer_embedding.projection",),
}  # fmt: skip
"""By what they read; a layer has one of them."""

_PIECE = 1 << 20
_MOST_KEPT = 0.7
"""Where most of the trace is of few tokens, more is left than others have; and no input is all noise."""

_LEAST = 1e-30  # a stream of zeros
_STEEP = 80.0  # behind that a logistic function is 0 or 1


@dataclass
class LayerFlow:
    """shares: by the matrix that writes to the stream, the mean over tokens of |W x|^2 / (|W x|^2 + |h|^2), as if W
    were white. h is the stream behind the layer; for `o`, whose output the next block of the layer reads too, the
    geometric mean of that and of the stream before the layer is taken. kept: by the input of matrices
    (TensorPlan.reads), what feedback leaves of an error: tr(D) / tr(H) with H = L D L^T, little damped. Of the input of
    a matrix that writes, tr(H) is that of tokens weighted by 1 / |h|^2: the first token of a window may hold nearly all
    of the trace, and tells nothing of the others."""

    shares: dict[str, float] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)


@dataclass
class Flow:
    """By layer, and of the lm_head. logits: half the mean square of a logit, as if the lm_head were white."""

    layers: list[LayerFlow]
    head: LayerFlow = field(default_factory=LayerFlow)
    logits: float = 0.0


class Survey:
    """The factors and the flow of a model on a text."""

    def __init__(
        self,
        copy: DenseCopy,
        tensors: Sequence[TensorPlan],
        windows: Sequence[Sequence[int]],
        seed_of: Callable[[TensorPlan], int],
        threads: int | None,
        forecast: Forecast,
        keeping: Keeping | None = None,
        damping: float = DAMPING,
    ) -> None:
        """tensors: those that may be coded. Runs the model, from where an interrupted survey stopped."""
        self._copy = copy
        self._windows = windows
        self._damping = damping
        self._threads = threads
        self._forecast = forecast
        self._seed_of = seed_of
        self._readers: dict[tuple[int | None, int], dict[str, TensorPlan]] = {}
        for tensor in tensors:
            layer, part = layer_and_part(tensor.name)
            point = _native.CAPTURE_LM_HEAD if tensor.name == copy.lm_head else POINTS.get(part, point_of(part))
            if point is not None and (layer is not None or tensor.name == copy.lm_head):
                self._readers.setdefault((layer, point), {})[tensor.reads] = tensor
        self._reads = {tensor.name: tensor.reads for readers in self._readers.values() for tensor in readers.values()}
        known = set(self._reads.values())
        self._reads |= {tensor.name: tensor.reads for tensor in tensors if tensor.reads in known}
        factor_bytes = sum(2 * cols**2 for _, cols in {(tensor.reads, tensor.cols) for tensor in tensors})
        self._factors = ArrayStore(copy.path.parent, keeping, "survey", factor_bytes)
        self._factored: set[str] = set()  # of the inputs that have one
        self._keeping = keeping
        self._run()

    def _run(self) -> None:
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(self._copy.path, verify=False))
            self.flow = Flow([LayerFlow() for _ in range(model.info.layers)])
            n_bytes = 2 * 4 * sum(map(len, self._windows)) * model.stream_width  # of two layers at a time
            kept = ArrayStore(self._copy.path.parent, self._keeping, "survey states", n_bytes)
            states: HiddenStates | None = None
            for layer in range(model.info.layers):
                if not self._restore(layer):
                    if states is None:
                        directory = self._copy.path.parent
                        states = stack.enter_context(HiddenStates(model, self._windows, directory, self._threads))
                    self._bring(states, layer, kept)
                    self._look(states, layer)
                    kept.put(str(layer + 1), states.values)
                    self._save(layer)
                kept.forget(str(layer))
            kept.forget(str(model.info.layers))

    def _bring(self, states: HiddenStates, layer: int, kept: ArrayStore) -> None:
        """To the input of a layer: from the latest that is kept."""
        for number in range(layer, states.layer, -1):
            values = kept.find(str(number))
            if values is not None:
                states.take(number, values)
                break
        units = schedule.pass_units(self._copy.weights, states.layer, layer, states.n_tokens)
        with self._forecast.doing("passing", "calibrating", units) as report:
            states.advance(layer, report)

    def factor(self, name: str) -> FloatArray | None:
        """For the feedback of a matrix; None for one whose input has none."""
        reads = self._reads.get(name)
        return self._factors.get_factor(reads) if reads in self._factored and reads is not None else None

    def _restore(self, layer: int) -> bool:
        """Takes a layer that was kept, with all its factors."""
        found = self._factors.restore(f"layer {layer}")
        if found is None:
            return False
        self.flow.layers[layer] = LayerFlow(found["shares"], found["kept"])
        self._factored |= {*found["kept"], *found["head"]}
        if found["head"]:
            self.flow.head, self.flow.logits = LayerFlow({}, found["head"]), found["logits"]
        return True

    def _save(self, layer: int) -> None:
        flow = self.flow.layers[layer]
        head = self.flow.head.kept if layer == len(self.flow.layers) - 1 else {}
        found = {"shares": flow.shares, "kept": flow.kept, "head": head, "logits": self.flow.logits}
        self._factors.save(f"layer {layer}", found, [*flow.kept, *head])

    def _look(self, states: HiddenStates, layer: int) -> None:
        """One layer: its statistics, its factors, and the stream behind it."""
        read: dict[int, list[FloatArray]] = {}

        def see(layer: int, point: int, x: FloatArray) -> None:
            read.setdefault(point, []).append(x.copy())

        units = schedule.pass_units(self._copy.weights, layer, layer + 1, states.n_tokens)
        units += schedule.moment_units(self._copy.weights, layer, layer + 1, states.n_tokens)
        before = states.energies()
        with self._forecast.doing("passing", "calibrating", units) as report:
            states.advance(layer + 1, report, see)
        x = {point: np.concatenate(pieces) for point, pieces in read.items()}
        read.clear()
        behind = np.maximum(states.energies(), _LEAST)
        streams = {_native.CAPTURE_O: [np.maximum(before, _LEAST), behind], _native.CAPTURE_DOWN: [behind]}
        streams[_native.CAPTURE_LAYER_OUTPUT] = [behind]
        self._measure(layer, x, streams)

    def _measure(self, layer: int, x: Mapping[int, FloatArray], streams: Mapping[int, Sequence[Energies]]) -> None:
        """x: what the matrices of a layer read, by point; streams: |h|^2 of each token, where one is written to."""
        flow = self.flow.layers[layer]
        self._measure_experts(layer, x, streams)
        for point, values in x.items():
            if point >= _native.CAPTURE_EXPERT_INPUT:
                continue
            n_tokens, cols = values.shape
            of_head, trace = point == _native.CAPTURE_LM_HEAD, None
            energies = np.maximum(np.einsum("ij,ij->i", values, values, dtype=np.float64) / cols, _LEAST)
            if of_head:
                n_weights = self._copy.weights[self._copy.lm_head]
                self.flow.logits = 0.5 * cols * float(np.mean(energies)) * _energy(self._copy, self._copy.lm_head)
                self.flow.logits /= n_weights
            if point in _WRITERS:
                part = self._writer(layer, point)
                counts = self._counts(layer, part, x)
                trace = cols * self._written(layer, part, energies, counts, streams[point])
            moment = np.zeros((cols, cols), np.float32)
            add_moment(moment, values, self._threads)
            moment /= np.float32(n_tokens)
            for tensor in self._readers.get((None if of_head else layer, point), {}).values():
                self._keep(tensor, moment.copy(), self.flow.head if of_head else flow, trace)

    def _measure_experts(
        self, layer: int, x: Mapping[int, FloatArray], streams: Mapping[int, Sequence[Energies]]
    ) -> None:
        """The inputs of each expert, mixed with those of all; and how much of the stream it writes: a share of the
        tokens reaches it, and it has as much of a token as each of those that the token uses."""
        flow = self.flow.layers[layer]
        for first in (_native.CAPTURE_EXPERT_INPUT, _native.CAPTURE_EXPERT_DOWN):
            end = first + _native.CAPTURE_EXPERT_INPUT
            readers = {
                point: found for (of, point), found in self._readers.items() if of == layer and first <= point < end
            }
            rows = {point: values for point, values in x.items() if first <= point < end}
            if not readers or not rows:
                continue
            cols, n_rows = next(iter(rows.values())).shape[1], sum(map(len, rows.values()))
            of_all = np.zeros((cols, cols), np.float32)
            for values in rows.values():
                add_moment(of_all, values, self._threads)
            of_all /= np.float32(n_rows)
            for point, found in readers.items():
                values = rows.get(point, np.zeros((0, cols), np.float32))
                moment = np.zeros((cols, cols), np.float32)
                if len(values):
                    add_moment(moment, values, self._threads)
                moment = mixed(moment, len(values), of_all)
                if first == _native.CAPTURE_EXPERT_DOWN:
                    n_tokens = len(streams[_native.CAPTURE_DOWN][-1])
                    stream = math.exp(float(np.mean(np.log(streams[_native.CAPTURE_DOWN][-1]))))
                    part = f"experts.{point - first}.down"
                    written = _energy(self._copy, f"layers.{layer}.{part}") * float(np.trace(moment)) / cols
                    written *= (n_tokens / n_rows) ** 2
                    flow.shares[part] = max(len(values), 1) / n_tokens * written / (written + stream)
                for tensor in found.values():
                    self._keep(tensor, moment.copy(), flow, None)

    def _writer(self, layer: int, point: int) -> str:
        """The matrix of a layer that reads there and writes to the stream."""
        parts = _WRITERS[point]
        return next((part for part in parts if f"layers.{layer}.{part}" in self._copy.areas), parts[0])

    def _counts(self, layer: int, part: str, x: Mapping[int, FloatArray]) -> Energies:
        """What |W x|^2 of each token is multiplied by before it is added: of a shared part the square of its share."""
        share = f"layers.{layer}.shared.share"
        if part != "shared.down" or share not in self._copy.areas:
            return np.ones(1)
        numbers = x[_native.CAPTURE_UP].astype(np.float64) @ self._copy.read(share)
        return 1 / (1 + np.exp(-np.clip(numbers, -_STEEP, _STEEP))) ** 2

    def _written(self, layer: int, part: str, read: Energies, counts: Energies, streams: Sequence[Energies]) -> float:
        """Notes the share of a matrix that writes. Gives the mean of `read`, |x|^2 over columns of each token, with the
        weights of LayerFlow."""
        written = _energy(self._copy, f"layers.{layer}.{part}") * read * counts
        mean = float(np.mean(read / streams[-1]) / np.mean(1 / streams[-1]))
        normed = _energy(self._copy, f"layers.{layer}.{part.split('.')[0]}.post_norm")
        if normed > 0:  # what is written has the size that the norm gives it
            written = np.full_like(read, normed)
            mean = 1 / float(np.mean(1 / read))
        shares = [float(np.mean(written / (written + stream))) for stream in streams]
        self.flow.layers[layer].shares[part] = math.prod(shares) ** (1 / len(shares))
        return mean

    def _keep(self, tensor: TensorPlan, moment: FloatArray, flow: LayerFlow, trace: float | None) -> None:
        """The factor of one input, to the disk. trace: where it is not that of the moment."""
        cols = len(moment)
        whole = float(np.trace(moment, dtype=np.float64))
        trace = whole if trace is None else trace
        damping = self._damping * min(trace / whole, 1.0) if whole > 0 else self._damping
        block, seed = trellis.rotation_block(cols), self._seed_of(tensor)
        with self._forecast.doing("factoring", "calibrating", 2 * factor_units(cols)):
            little = feedback_factor(moment.copy(), block, seed, DAMPING, self._threads)
            factor = feedback_factor(moment, block, seed, damping, self._threads)
        flow.kept[tensor.reads] = _kept_share(little, cols, trace)
        self._factored.add(tensor.reads)
        self._factors.put_factor(tensor.reads, factor)


def _kept_share(factor: FloatArray, cols: int, trace: float) -> float:
    """What feedback leaves of an error (LayerFlow.kept). factor: feedback_factor() of H; trace: of H."""
    left = math.fsum(1.0 / float(value) ** 2 for value in np.diag(factor)[:cols])  # D of H = L D L^T
    return min(left / trace, _MOST_KEPT) if trace > 0 else _MOST_KEPT


def _energy(copy: DenseCopy, name: str) -> float:
    """|W|^2; 0 for a matrix that there is not."""
    if name not in copy.areas:
        return 0.0
    weights = copy.read(name)
    return math.fsum(trellis.squared_norm(weights[at : at + _PIECE]) for at in range(0, len(weights), _PIECE))


def expected(weights: Mapping[str, int], tensors: Sequence[TensorPlan], n_tokens: int) -> dict[str, float]:
    """What a Survey has to do (schedule.py)."""
    end = schedule.layers_of(weights)
    passing = schedule.pass_units(weights, 0, end, n_tokens) + schedule.moment_units(weights, 0, end, n_tokens)
    inputs = {(tensor.reads, tensor.cols) for tensor in tensors}
    return {"passing": passing, "factoring": 2 * sum(factor_units(cols) for _, cols in inputs)}
