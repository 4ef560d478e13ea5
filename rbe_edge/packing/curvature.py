"""What errors in each matrix would cost, from one backward pass over text that the model continues itself
(docs/codec.md, "Curvature").

Labels are drawn from the model's own predictions. So the mean of g g^T over windows of text is the Fisher matrix: the
second derivative of the divergence between what the model predicts and what it predicts with other weights.
Gradients are summed over a window before they are squared: an error in a matrix that shifts all tokens alike, as one of
`v` does, costs more than the sum of what it costs at each. Rows are taken as independent of one another, and as alike
but for their size:

    H = mean over windows of the sum over rows of |W_r|^2 / cols g_r g_r^T

Feedback encodes by H. What is left of a row's errors counts with the diagonal D of H = L D L^T, in the rotated basis,
damped. So a relative squared error of 1 in a matrix costs tr D / (2 window) nats per token.

Time: a forward and a backward pass over the text, and for each matrix n_tokens cols^2 / 2 and cols^3 / 2. Memory: the
matrices H of one layer; hidden states and factors lie on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.packing import schedule
from rbe_edge.packing.array_store import ArrayStore, packed_triangle, unpacked_triangle
from rbe_edge.packing.calibration import feedback_factor
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.hidden_states import Keeping
from rbe_edge.packing.kept import KEPT_BYTES
from rbe_edge.progress import Report
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradient, Gradients

FloatArray = npt.NDArray[np.float32]

WINDOW = 128
DAMPING = 0.1
"""Added to the diagonal of H, relative to its mean (docs/codec.md has the measurement)."""

SETTINGS = f"curvature {WINDOW} {DAMPING}"

_CALL_TOKENS = 1024  # of one call of the engine, in windows
_DIGITS = 4  # what is kept: more would say nothing


def windows_of(tokens: Sequence[int]) -> list[Sequence[int]]:
    """Whole windows, or a shorter one where there are fewer tokens."""
    n = len(tokens) // WINDOW * WINDOW
    return [tokens[start : start + WINDOW] for start in range(0, n, WINDOW)] or [tokens]


class Curvature:
    """sensitivities: by tensor, nats per token and unit of relative squared error, as it is on a Gaussian. Factors for
    feedback: as a Calibration, it is asked for them. Both depend on nothing but model and text. For one thread."""

    def __init__(
        self,
        copy: DenseCopy,
        tensors: Sequence[TensorPlan],
        tokens: Sequence[int],
        seed_of: Callable[[TensorPlan], int],
        threads: int | None = None,
        forecast: Forecast | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        """tensors: those that may be coded. Runs the model, forward and backward, from where an interrupted run
        stopped."""
        self.sensitivities: dict[str, float] = {}
        self._sides: dict[str, int] = {}  # of the factors that there are
        self._copy = copy
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._windows = windows_of(tokens)
        self._seed_of = seed_of
        self._threads = threads
        self._forecast = forecast or Forecast(None, schedule.RATES)
        with Model.open(copy.path, verify=False) as model:
            self._layers = model.info.layers
            n_bytes = 4 * sum(map(len, self._windows)) * model.info.width * (self._layers + 2)  # states, a gradient
        n_bytes += sum(2 * tensor.cols**2 for tensor in tensors)
        self._keeping = keeping if n_bytes <= KEPT_BYTES // 2 else None  # what takes more would push itself out
        self._store = ArrayStore(copy.path.parent, self._keeping, SETTINGS)
        self._embedding_scale = 1.0
        self._run()

    def factor(self, name: str, block: int, seed: int) -> FloatArray | None:
        """As Calibration.factor(); in any order."""
        if name not in self._sides:
            return None
        return unpacked_triangle(self._store.get(name), self._sides[name])

    # ---- what is kept of a layer; that of number `layers` is the head, that of -1 the embedding ----

    def _restore(self, layer: int) -> bool:
        """Takes a layer that was kept, with all its factors."""
        if self._keeping is None:
            return False
        content = self._keeping.kept.read(self._store.key(f"found {layer}"))
        if content is None:
            return False
        found = json.loads(content)
        if not all(self._store.has(name) for name in found["sides"]):
            return False
        self.sensitivities |= found["sensitivities"]
        self._sides |= found["sides"]
        return True

    def _save(self, layer: int, sensitivities: Mapping[str, float], sides: Mapping[str, int]) -> None:
        rounded = {name: float(f"{value:.{_DIGITS}g}") for name, value in sensitivities.items()}
        self.sensitivities |= rounded
        self._sides |= sides
        if self._keeping is not None:
            content = json.dumps({"sensitivities": rounded, "sides": sides}).encode()
            self._keeping.kept.write(self._store.key(f"found {layer}"), content)

    # ---- the passes ----

    def _run(self) -> None:
        layer = self._layers
        while layer >= -1 and self._restore(layer):
            layer -= 1
        if layer < -1:
            return
        if layer < self._layers and not self._store.has(f"gradient {layer + 1}"):
            layer = self._layers  # it was taken away meanwhile
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(self._copy.path, verify=False))
            scale = model.metadata.get("embedding.scale", 1.0)
            assert isinstance(scale, int | float)
            self._embedding_scale = float(scale)
            size = min(len(self._windows[0]), model.info.context)
            self._windows = [window[:size] for window in self._windows]
            self._forward(model, size, layer)
            gradients = stack.enter_context(
                model.gradients(tokens=max(_CALL_TOKENS, size), context=size, threads=self._threads or 0)
            )
            for number in range(layer, -2, -1):
                self._back(gradients, number, size)

    def _states(self, layer: int, size: int) -> FloatArray:
        return self._store.get(f"states {layer}").reshape(len(self._windows) * size, -1)

    def _forward(self, model: Model, size: int, last: int) -> None:
        """Hidden states [tokens][width] before every layer up to number `last`, as far as they are not kept."""
        n_tokens = size * len(self._windows)
        with model.session(context=size, threads=self._threads or 0, pass_tokens=size, kv="f32") as session:
            if last >= 0 and not self._store.has("states 0"):
                self._store.put("states 0", np.concatenate([session.embed(window) for window in self._windows]))
            for layer in range(last):
                if self._store.has(f"states {layer + 1}"):
                    continue
                states = self._states(layer, size).copy()
                units = schedule.pass_units(self._copy.weights, layer, layer + 1, n_tokens)
                with self._forecast.doing("passing", "reading the text", units) as report:
                    for start in range(0, n_tokens, size):
                        session.run_layers(layer, 1, states[start : start + size])
                        report(start + size, n_tokens)
                self._store.put(f"states {layer + 1}", states)

    def _back(self, gradients: Gradients, layer: int, size: int) -> None:
        """One layer, the head or the embedding: its sensitivities and factors, and the gradient before it."""
        if layer < 0:
            self._save(layer, self._looked_up(size), {})
            self._store.forget("gradient 0")
            return
        states = self._states(layer, size)
        statistics = _Statistics(gradients, self._tensors)
        units = schedule.back_units(self._copy.weights, layer, len(states))
        with self._forecast.doing("passing", "measuring what counts", units) as report:
            d_hidden = self._gradient(gradients, layer, states, size, statistics, report)
        sensitivities, sides = {}, {}
        for name, total in statistics.sums.items():
            sensitivities[name], sides[name] = self._factored(self._tensors[name], total)
        statistics.sums.clear()
        self._store.put(f"gradient {layer}", d_hidden)
        self._save(layer, sensitivities, sides)
        self._store.forget(f"gradient {layer + 1}")
        self._store.forget(f"states {layer}")

    def _gradient(
        self,
        gradients: Gradients,
        layer: int,
        states: FloatArray,
        size: int,
        statistics: _Statistics,
        report: Report,
    ) -> FloatArray:
        """By the hidden states before a layer, or behind the last one. statistics: are shown what is on the way."""
        n, per_call = len(states), max(_CALL_TOKENS // size, 1) * size
        of_head = layer == self._layers
        d_hidden = np.zeros(states.shape, np.float32) if of_head else self._store.get(f"gradient {layer + 1}").copy()
        d_hidden = d_hidden.reshape(states.shape)
        for start in range(0, n, per_call):
            part = slice(start, min(start + per_call, n))
            before = np.ascontiguousarray(states[part])
            if of_head:
                d_hidden[part] = gradients.head(before, window=size, seed=start, show=statistics.show).d_hidden
            else:
                gradients.layer(layer, before, d_hidden[part], statistics.show, window=size)
            report(part.stop, n)
        return d_hidden

    def _factored(self, tensor: TensorPlan, total: FloatArray) -> tuple[float, int]:
        """The sensitivity of a matrix, and the side of its factor, which goes to the disk. total: is used up."""
        total /= np.float32(len(self._windows))
        with self._forecast.doing("factoring", "measuring what counts", schedule.factor_units(tensor.cols)):
            block = trellis.rotation_block(tensor.cols)
            factor = feedback_factor(total, block, self._seed_of(tensor), DAMPING, self._threads)
        self._store.put(tensor.name, packed_triangle(factor))
        left = 1.0 / np.diag(factor)[: tensor.cols].astype(np.float64) ** 2
        return float(left.sum()) / (2 * len(self._windows[0])), len(factor)

    def _looked_up(self, size: int) -> dict[str, float]:
        """What errors of the embedding cost where tokens are looked up, and where it serves as lm_head: there is no
        feedback between its rows in the first role."""
        if "embedding" not in self._tensors:
            return {}
        d_hidden = self._store.get("gradient 0").reshape(len(self._windows), size, -1)
        sizes = _row_sizes(self._tensors["embedding"])
        total = 0.0
        for window, of_window in zip(self._windows, d_hidden, strict=True):
            rows, places = np.unique(window, return_inverse=True)
            sums = np.zeros((len(rows), d_hidden.shape[2]))
            np.add.at(sums, places, of_window)
            total += float((sums**2).sum(axis=1) @ sizes[rows].astype(np.float64) ** 2)
        looked_up = total * self._embedding_scale**2 / len(self._windows) / (2 * size)
        return {"embedding": looked_up + self.sensitivities.get("embedding", 0.0)}


class _Statistics:
    """sums: of the matrices that are shown, window by window G^T G with each row weighed by its size."""

    def __init__(self, gradients: Gradients, tensors: Mapping[str, TensorPlan]) -> None:
        self.sums: dict[str, FloatArray] = {}
        self._gradients = gradients
        self._tensors = tensors
        self._sizes: dict[str, FloatArray] = {}

    def show(self, gradient: Gradient) -> None:
        name = gradient.name
        if gradient.x is None or name not in self._tensors:
            return
        if name not in self._sizes:
            self._sizes[name] = _row_sizes(self._tensors[name])
        rows = slice(gradient.first_row, gradient.first_row + gradient.d.shape[1])
        weighed = gradient.weighed(self._sizes[name][rows])
        total = self.sums.setdefault(name, np.zeros((gradient.cols, gradient.cols), np.float32))
        self._gradients.add_curvature(weighed, total)


def _row_sizes(tensor: TensorPlan) -> FloatArray:
    """|W_r| / sqrt(cols)."""
    values = tensor.read()
    squares = np.einsum("rc,rc->r", values, values, dtype=np.float64)
    sizes: FloatArray = np.sqrt(squares / values.shape[1]).astype(np.float32)
    return sizes


def expected(weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int) -> dict[str, float]:
    """What a Curvature has to do (schedule.py)."""
    end = schedule.layers_of(weights)
    passing = schedule.pass_units(weights, 0, end, n_tokens)
    passing += sum(schedule.back_units(weights, layer, n_tokens) for layer in range(end + 1))
    return {"passing": passing, "factoring": sum(schedule.factor_units(tensor.cols) for tensor in tensors)}
