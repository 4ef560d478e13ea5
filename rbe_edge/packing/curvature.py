"""What errors in each matrix would cost, from one backward pass over text that the model continues itself
(docs/codec.md, "Deciding bits per tensor").

Labels are drawn from the model's own predictions. So the mean of g g^T over windows of text is the Fisher matrix: the
second derivative of the divergence between what the model predicts and what it predicts with other weights.
Gradients are summed over a window before they are squared: an error in a matrix that shifts all tokens alike, as one of
`v` does, costs more than the sum of what it costs at each. Rows are taken as independent of one another. Errors of a
row are as large as the row is, and feedback spreads them: what is left of a row's Fisher matrix H counts with the
diagonal D of H = L D L^T, in the rotated basis. So a relative squared error of 1 in a matrix costs

    tr D / (2 window)    with H = mean over windows of the sum over rows of |W_r|^2 / cols g_r g_r^T

nats per token. Time: four forward passes over the text, and for each matrix cols^3 / 2. Memory: one layer and the
matrices H of it; hidden states lie on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.packing.calibration import DAMPING, feedback_factor
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.progress import Progress
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import TensorPlan

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradient, Gradients

FloatArray = npt.NDArray[np.float32]

TOKENS = 8192
WINDOW = 128
_CALL_TOKENS = 1024  # of one call of the engine, in windows
_DIGITS = 4  # what is kept: more would say nothing

SETTINGS = f"curvature {TOKENS} {WINDOW} {DAMPING}"


def windows_of(tokens: Sequence[int]) -> list[Sequence[int]]:
    """The windows that are read: whole ones, of the first TOKENS tokens; one shorter one where there are fewer."""
    n = min(len(tokens), TOKENS)
    return [tokens[start : start + WINDOW] for start in range(0, n // WINDOW * WINDOW, WINDOW)] or [tokens[:n]]


def foretell(
    copy: DenseCopy,
    tensors: Sequence[TensorPlan],
    tokens: Sequence[int],
    seed_of: Callable[[TensorPlan], int],
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Sensitivity of every tensor given: nats per token and unit of relative squared error, as it is on a Gaussian.
    The numbers depend on nothing but model and tokens. progress: is told after each layer; it keeps its count."""
    progress = progress or Progress()
    windows = windows_of(tokens)
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(copy.path, verify=False))
        size = len(windows[0])
        scratch = stack.enter_context(tempfile.TemporaryFile(prefix=copy.path.name, dir=copy.path.parent))
        shape = (model.info.layers + 1, size * len(windows), model.info.width)
        states = np.memmap(scratch, np.float32, "w+", shape=shape)
        _run_forward(model, windows, states, threads, progress)
        context = min(size, model.info.context)
        gradients = stack.enter_context(model.gradients(tokens=_CALL_TOKENS, context=context, threads=threads or 0))
        walk = _Walk(gradients, {tensor.name: tensor for tensor in tensors}, seed_of, size, len(windows), threads)
        walk.run(states, [token for window in windows for token in window], progress)
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in walk.found.items()}


def _run_forward(
    model: Model, windows: Sequence[Sequence[int]], states: FloatArray, threads: int | None, progress: Progress
) -> None:
    """Hidden states [layers + 1][tokens] of every window."""
    size = len(windows[0])
    with model.session(context=size, threads=threads or 0, pass_tokens=size, kv="f32") as session:
        for number, window in enumerate(windows):
            hidden = session.embed(window)
            at = slice(number * size, (number + 1) * size)
            states[0, at] = hidden
            for layer in range(model.info.layers):
                session.run_layers(layer, 1, hidden)
                states[layer + 1, at] = hidden
            progress.tell("reading text")


class _Walk:
    """From the head to the embedding. found: sensitivities so far."""

    def __init__(
        self,
        gradients: Gradients,
        tensors: dict[str, TensorPlan],
        seed_of: Callable[[TensorPlan], int],
        window: int,
        n_windows: int,
        threads: int | None,
    ) -> None:
        self.found: dict[str, float] = {}
        self._gradients = gradients
        self._tensors = tensors
        self._seed_of = seed_of
        self._window = window
        self._n_windows = n_windows
        self._threads = threads
        self._sums: dict[str, FloatArray] = {}
        self._sizes: dict[str, FloatArray] = {}  # |W_r| / sqrt(cols) of the rows of a matrix

    def run(self, states: FloatArray, tokens: Sequence[int], progress: Progress) -> None:
        n, per_call = len(tokens), max(_CALL_TOKENS // self._window, 1) * self._window
        d_hidden = np.zeros(states.shape[1:], np.float32)
        parts = [slice(start, min(start + per_call, n)) for start in range(0, n, per_call)]
        for part in parts:
            last = np.ascontiguousarray(states[-1, part])
            d_hidden[part] = self._gradients.head(last, window=self._window, seed=part.start, show=self._show).d_hidden
            progress.tell("measuring what counts")
        self._settle()
        for layer in reversed(range(len(states) - 1)):
            for part in parts:
                before = np.ascontiguousarray(states[layer, part])
                self._gradients.layer(layer, before, d_hidden[part], self._show, window=self._window)
            self._settle()
            progress.tell("measuring what counts")
        if "embedding" in self._tensors:
            looked_up = self._looked_up(tokens, d_hidden)
            self.found["embedding"] = looked_up + self.found.get("embedding", 0.0)  # where it serves as lm_head

    def _row_sizes(self, name: str) -> FloatArray:
        if name not in self._sizes:
            values = self._tensors[name].read()
            squares = np.einsum("rc,rc->r", values, values, dtype=np.float64)
            self._sizes[name] = np.sqrt(squares / values.shape[1]).astype(np.float32)
        return self._sizes[name]

    def _show(self, gradient: Gradient) -> None:
        """Adds what a call found of a matrix, its rows weighed by their size."""
        if gradient.x is None or gradient.name not in self._tensors:
            return
        rows = slice(gradient.first_row, gradient.first_row + gradient.d.shape[1])
        weighed = gradient.weighed(self._row_sizes(gradient.name)[rows])
        cols = gradient.cols
        total = self._sums.setdefault(gradient.name, np.zeros((cols, cols), np.float32))
        self._gradients.add_curvature(weighed, total)

    def _settle(self) -> None:
        """The sensitivities of the matrices of which all was seen."""
        for name, total in self._sums.items():
            tensor = self._tensors[name]
            total /= np.float32(self._n_windows)
            factor = feedback_factor(
                total, trellis.rotation_block(tensor.cols), self._seed_of(tensor), DAMPING, self._threads
            )
            left = 1.0 / np.diag(factor)[: tensor.cols].astype(np.float64) ** 2
            self.found[name] = float(left.sum()) / (2 * self._window)
        self._sums, self._sizes = {}, {}

    def _looked_up(self, tokens: Sequence[int], d_hidden: FloatArray) -> float:
        """What errors of the embedding cost where tokens are looked up: there is no feedback between its rows."""
        sizes = self._row_sizes("embedding")
        scale = self._gradients.model.metadata.get("embedding.scale", 1.0)
        assert isinstance(scale, int | float)
        total = 0.0
        for start in range(0, len(tokens), self._window):
            rows, places = np.unique(tokens[start : start + self._window], return_inverse=True)
            sums = np.zeros((len(rows), d_hidden.shape[1]))
            np.add.at(sums, places, d_hidden[start : start + self._window])
            total += float((sums**2).sum(axis=1) @ sizes[rows].astype(np.float64) ** 2)
        return total * float(scale) ** 2 / self._n_windows / (2 * self._window)
