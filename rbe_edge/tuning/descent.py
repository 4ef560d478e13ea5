"""Gradient descent on the KL divergence between a packed model and its source."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.tuning.distillation import Distillation
from rbe_edge.tuning.parameters import Parameters, Values

WARM_UP = 0.1  # of the steps
N_CHECKS = 4  # looks at the text held out, beside the one before the first step
_BETAS = (0.9, 0.99)  # a second moment that follows within the few hundred steps there are
_EPSILON = 1e-12  # nats per token; gradients are relative to parameters of one


@dataclass(frozen=True)
class Schedule:
    """steps of Adam; the gradient of each is over `batch` windows. learning_rate: the highest, relative to the
    parameters: it rises over the first tenth of the steps and falls along a parabola that is flat at both ends."""

    steps: int
    batch: int
    learning_rate: float
    seed: int

    def rate(self, step: int) -> float:
        """By additions and multiplications alone, which are the same everywhere; a cosine is not."""
        warm_up = max(round(WARM_UP * self.steps), 1)
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        left = 1 - (step - warm_up) / max(self.steps - warm_up, 1)
        return self.learning_rate * left * left * (3 - 2 * left)

    @property
    def check_every(self) -> int:
        return max(self.steps // N_CHECKS, 1)

    def is_checked(self, step: int) -> bool:
        """Whether the text held out is looked at when so many steps are done."""
        return step % self.check_every == 0 or step == self.steps


@dataclass(frozen=True)
class Course:
    """What happened. kept: the step whose parameters were kept, 0: none. kl: by step, on the text held out."""

    kept: int
    kl: dict[int, float]


class Adam:
    """Kingma and Ba: "Adam: a method for stochastic optimization" (2015), algorithm 1."""

    def __init__(self, count: int) -> None:
        self._first, self._second = np.zeros(count), np.zeros(count)
        self._decays = [1.0, 1.0]

    def step(self, values: Values, gradient: Values, rate: float) -> None:
        """Changes the values in place."""
        for number, (moment, new) in enumerate(((self._first, gradient), (self._second, gradient * gradient))):
            beta = _BETAS[number]
            moment *= beta
            moment += (1 - beta) * new
            self._decays[number] *= beta
        first, second = (1 / (1 - decay) for decay in self._decays)
        values -= rate * (self._first * first) / (np.sqrt(self._second * second) + _EPSILON)


def batches(n_windows: int, size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of numbers of windows, each once before any comes again, in an order by the seed."""
    order: list[int] = []
    for turn in itertools.count():
        while len(order) >= size:
            taken, order = order[:size], order[size:]
            yield taken

        def place(number: int, turn: int = turn) -> bytes:  # NumPy may draw otherwise in another version
            return hashlib.sha256(f"{seed} {turn} {number}".encode()).digest()

        order += sorted(range(n_windows), key=place)


def descend(
    model: Distillation,
    copy: DenseCopy,
    parameters: Parameters,
    windows: Sequence[int],
    held_out: Sequence[int],
    schedule: Schedule,
    forecast: Forecast,
) -> Course:
    """Tunes the parameters and leaves them as they were when the divergence on `held_out` was least.

    windows, held_out: numbers of those of the model. forecast: counts "held out" and "going back", weights times
    tokens.
    """
    optimiser = Adam(parameters.count)
    supply = batches(len(windows), schedule.batch, schedule.seed)

    def check() -> float:
        with forecast.doing("held out", "measuring", model.units(len(held_out))) as report:
            return model.divergence(held_out, report)

    course = {0: check()}
    kept, best = 0, parameters.values.copy()
    for step in range(schedule.steps):
        with forecast.doing("going back", "tuning", model.units(schedule.batch)) as report:
            gradient = model.gradient([windows[number] for number in next(supply)], parameters, report)
            optimiser.step(parameters.values, gradient, schedule.rate(step))
            parameters.write(copy)
        if schedule.is_checked(step + 1):
            course[step + 1] = check()
            if course[step + 1] < course[kept]:
                kept, best = step + 1, parameters.values.copy()
    parameters.values[:] = best
    return Course(kept, course)
