"""What errors in each matrix would cost, from one backward pass over text that the model continues itself
(docs/codec.md, "Curvature").

Labels are drawn from the model's own predictions. So the mean of g g^T over windows of text is the Fisher matrix: the
second derivative of the divergence between what the model predicts and what it predicts with other weights.
Gradients are summed over a window before they are squared: an error in a matrix that shifts all tokens alike, as one of
`v` does, costs more than the sum of what it costs at each. Rows are taken as independent of one another, and as alike
but for their size:

    H = mean over windows of the sum over rows of |W_r|^2 / cols g_r g_r^T

An embedding that serves as lm_head too has the sum of both H: what errors cost where tokens are looked up counts more
in some models.

Feedback encodes by H. What is left of a row's errors counts with the diagonal D of H = L D L^T, in the rotated basis,
damped. So a relative squared error of 1 in a matrix costs tr D / (2 window) nats per token.

That is of predictions, with windows of one length; loss.py has what the same is for other losses, and encoder_loss.py
that of encoders, whose windows are texts. How windows go through a model says passes.py: one stack (window_passes.py),
or the two of an encoder-decoder (pair_passes.py), whose windows are pairs of a text and its answer.

Time: a forward and a backward pass over the text, and for each matrix n_tokens cols^2 / 2 and cols^3 / 2. Memory: the
matrices H of one layer; hidden states and factors lie on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.format.bands import matrix_of
from rbe_edge.packing import bands, schedule
from rbe_edge.packing.array_store import ArrayStore
from rbe_edge.packing.calibration import add_moment, feedback_factor, rotate_moment
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.expert_statistics import mix_curvatures
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.loss import Loss, WordLoss
from rbe_edge.packing.passes import Passes, settings
from rbe_edge.packing.window_passes import WindowPasses
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

if TYPE_CHECKING:
    from rbe_edge.runtime.gradient_values import Gradient
    from rbe_edge.runtime.gradients import Gradients

FloatArray = npt.NDArray[np.float32]

_TIED = "lm_head's curvature"
_DIGITS = 4  # what is kept: more would say nothing


class Curvature:
    """sensitivities: by tensor, nats per token, or what the loss has as its `unit`, and unit of relative squared error,
    as it is on a Gaussian. energies: of the embedding and the lm_head, what errors in each band of rows cost
    (bands.py). Factors for feedback besides. All depend on nothing but model and text. For one thread."""

    def __init__(
        self,
        copy: DenseCopy,
        tensors: Sequence[TensorPlan],
        windows: Sequence[Any],
        seed_of: Callable[[TensorPlan], int],
        threads: int | None = None,
        forecast: Forecast | None = None,
        keeping: Keeping | None = None,
        loss_of: Callable[[Model], Loss] = WordLoss,
        passes_of: type[Passes] = WindowPasses,
    ) -> None:
        """tensors: those that may be coded. windows: of which the loss takes those that it can use. passes_of: how they
        go through the model. Runs it, forward and backward, from where an interrupted run stopped."""
        self.sensitivities: dict[str, float] = {}
        self.energies: dict[str, list[float]] = {}
        self._factored: set[str] = set()  # the matrices that have a factor
        self._copy = copy
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._seed_of = seed_of
        self._threads = threads
        self._forecast = forecast or Forecast(None, schedule.RATES)
        factor_bytes = sum(2 * tensor.cols**2 for tensor in tensors)
        with Model.open(copy.path, verify=False) as model:
            self._loss = loss_of(model)
            self.unit = self._loss.unit
            self._factors = ArrayStore(copy.path.parent, keeping, settings(self._loss), factor_bytes)
            self._windows = self._loss.windows(windows)
            layers = range(passes_of.layers(model), -2, -1)  # the head, the layers, the embedding
            if not all([self._restore(layer) for layer in layers]):
                self.sensitivities.clear()  # what was there may be gone by the time when it is asked for
                self.energies.clear()
                self._factored.clear()
                with passes_of(
                    model, self._windows, copy, self._threads, self._forecast, keeping, self._loss
                ) as passes:
                    for layer in layers:
                        if not self._restore(layer):
                            self._look(passes, layer)
                        passes.leave(layer)

    def factor(self, name: str) -> FloatArray | None:
        """For the feedback of a matrix, or of a band of it; None for what is none."""
        whole = matrix_of(name)
        return self._factors.get_factor(whole) if whole in self._factored else None

    def _restore(self, layer: int) -> bool:
        """Takes a layer that was kept, with all its factors."""
        found = self._factors.restore(str(layer))
        if found is None:
            return False
        self.sensitivities |= found["sensitivities"]
        self.energies |= found["energies"]
        self._factored |= set(found["factors"])
        return True

    def _save(
        self,
        layer: int,
        sensitivities: Mapping[str, float],
        factors: Sequence[str] = (),
        energies: Mapping[str, bands.Energies] | None = None,
    ) -> None:
        rounded = {name: _rounded(value) for name, value in sensitivities.items()}
        of_bands = {name: list(map(_rounded, values)) for name, values in (energies or {}).items()}
        self.sensitivities |= rounded
        self.energies |= of_bands
        self._factored |= set(factors)
        record = {"sensitivities": rounded, "factors": factors, "energies": of_bands}
        self._factors.save(str(layer), record, factors)

    def _look(self, passes: Passes, layer: int) -> None:
        """The sensitivities and factors of a layer, the head or the embedding."""
        if layer < 0:
            self._look_up(passes)
            return
        statistics = _Statistics(passes.gradients_of(layer), self._tensors)
        passes.go_back(layer, statistics.show)
        of_layer = (name for name in self._tensors if schedule.layer_and_part(name)[0] == layer)
        mix_curvatures(statistics.sums, statistics.counts, of_layer)
        tied = statistics.sums.pop("embedding", None)
        if tied is not None:
            self._factors.put(_TIED, tied)
        sensitivities = {name: self._factor_of(name, total) for name, total in statistics.sums.items()}
        factors = [_TIED, *sensitivities] if tied is not None else list(sensitivities)
        self._save(layer, sensitivities, factors, statistics.energies)

    def _factor_of(self, name: str, total: FloatArray) -> float:
        """Puts the factor of a matrix on the disk, and gives its sensitivity. total: is used up."""
        tensor = self._tensors[name]
        total /= np.float32(len(self._windows))
        with self._forecast.doing("factoring", "measuring what counts", schedule.factor_units(tensor.cols)):
            block = trellis.rotation_block(tensor.cols)
            factor = feedback_factor(total, block, self._seed_of(tensor), self._loss.damping, self._threads)
        self._factors.put_factor(name, factor)
        left = 1.0 / np.diag(factor)[: tensor.cols].astype(np.float64) ** 2
        return float(left.sum()) / (2 * self._loss.units(self._windows))

    def _look_up(self, passes: Passes) -> None:
        """The embedding: what its errors cost where tokens are looked up, and where it serves as lm_head."""
        others, of_table = self._look_up_for_layers(passes)
        tensor = self._tensors.get("embedding")
        if tensor is None:
            self._save(-1, others, [name for name in others if name not in of_table], of_table)
            return
        scale = passes.model.metadata.get("embedding.scale", 1.0)
        assert isinstance(scale, int | float)
        sizes = float(scale) * _row_sizes(tensor)
        looked_up = np.zeros((tensor.cols, tensor.cols), np.float32)
        energies = np.zeros(bands.count(tensor.rows))
        for window, of_window in passes.looked_up():
            rows, sums = _by_row(window, of_window)
            sums *= sizes[rows, np.newaxis]
            add_moment(looked_up, sums.astype(np.float32), self._threads)
            energies += bands.by_band(rows, np.einsum("rc,rc->r", sums, sums), tensor.rows)
        tied = self._factors.find(_TIED)
        total = looked_up.copy() if tied is None else looked_up + tied.reshape(looked_up.shape)
        sensitivity = self._factor_of("embedding", total)
        if tied is not None and sensitivity > 0:
            part = self._part_of(tensor, looked_up / np.float32(len(self._windows))) / sensitivity
            of_head = np.array(self.energies["embedding"], np.float64)
            energies = part * bands.shares(energies) + (1 - part) * bands.shares(of_head)
        factors = ["embedding", *(name for name in others if name not in of_table)]
        self._save(-1, {"embedding": sensitivity, **others}, factors, {"embedding": energies, **of_table})

    def _look_up_for_layers(self, passes: Passes) -> tuple[dict[str, float], dict[str, bands.Energies]]:
        """What errors cost in what layers are given of each token: the projection, which has a factor, and the table,
        which has none, with its energies."""
        statistics = _Statistics(passes.gradients_of(0), self._tensors)
        looked_up = passes.looked_up_for_layers(statistics.show)
        found = {name: self._factor_of(name, total) for name, total in statistics.sums.items()}
        tensor = self._tensors.get("layer_embedding")
        if not looked_up or tensor is None:
            return found, {}
        table = self._copy.read(tensor.name).reshape(tensor.rows, tensor.cols)
        energies = np.zeros(bands.count(tensor.rows))
        for window, of_window in looked_up:
            rows, sums = _by_row(window, of_window)
            sizes = np.einsum("rc,rc->r", table[rows], table[rows], dtype=np.float64) / tensor.cols
            energies += bands.by_band(rows, sizes * np.einsum("rc,rc->r", sums, sums), tensor.rows)
        cost = float(energies.sum()) / len(looked_up) / (2 * self._loss.units(self._windows))
        return {**found, tensor.name: cost}, {tensor.name: energies}

    def _part_of(self, tensor: TensorPlan, part: FloatArray) -> float:
        """Of the sensitivity of a matrix that has its factor: what a part of H has of it. part: the lower triangle is
        read; it is used up. Errors under feedback are white noise times inverse(L), so it is the trace of
        D U part U^T, with inverse(H) = U^T U."""
        cols = tensor.cols
        rotate_moment(part, trellis.rotation_block(cols), self._seed_of(tensor))
        u = self._factors.get_factor(tensor.name)[:cols, :cols].astype(np.float64)
        left = np.einsum("ij,ij->i", u @ part.astype(np.float64), u) / np.diag(u) ** 2
        return float(left.sum()) / (2 * self._loss.units(self._windows))


class _Statistics:
    """sums: of the matrices that are shown, window by window G^T G with each row weighed by its size. counts: of the
    tokens that they are of. energies: of the embedding or lm_head among them, the trace of what each band of rows
    adds."""

    def __init__(self, gradients: Gradients, tensors: Mapping[str, TensorPlan]) -> None:
        self.sums: dict[str, FloatArray] = {}
        self.counts: dict[str, int] = {}
        self.energies: dict[str, bands.Energies] = {}
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
        self.counts[name] = self.counts.get(name, 0) + len(gradient.x)
        if name in bands.ROLES:
            self._add_in_bands(weighed, total)
        elif len(gradient.x) == 1:  # of one text, which the library has not shown
            total += np.sum(weighed.d**2) * (gradient.x.T @ gradient.x)
        else:
            self._gradients.add_curvature(weighed, total)

    def _add_in_bands(self, weighed: Gradient, total: FloatArray) -> None:
        """The same, band by band: the trace of each is what its errors cost."""
        n_rows, first = self._tensors[weighed.name].rows, weighed.first_row
        last = first + weighed.d.shape[1]
        energies = self.energies.setdefault(weighed.name, np.zeros(bands.count(n_rows)))
        step = bands.rows_of_band(n_rows)
        for band in range(first // step, -(-last // step)):
            begin, end = max(band * step, first), min((band + 1) * step, last)
            part = np.zeros_like(total)
            d = np.ascontiguousarray(weighed.d[:, begin - first : end - first])
            self._gradients.add_curvature(replace(weighed, first_row=begin, d=d), part)
            energies[band] += np.trace(part, dtype=np.float64)
            total += part


def _by_row(window: Sequence[int], of_window: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The rows that the tokens of a window looked up, each once, and for each the sum of the gradients by it."""
    rows, places = np.unique(np.asarray(window, np.int64), return_inverse=True)
    sums = np.zeros((len(rows), of_window.shape[1]))
    np.add.at(sums, places, of_window)
    return rows, sums


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


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
