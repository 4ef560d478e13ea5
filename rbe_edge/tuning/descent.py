"""Gradient descent on the KL divergence between a packed model and its source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbe_edge.progress import Report
from rbe_edge.tuning.decoder import Changes, Decoder
from rbe_edge.tuning.parameters import Parameters

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor

_WARM_UP = 0.1  # of the steps
_N_CHECKS = 5  # looks at the text held out, beside the one before the first step
_BETAS = (0.9, 0.99)  # a second moment that follows within the few hundred steps there are


@dataclass(frozen=True)
class Schedule:
    """steps of Adam; the gradient of each is over `accumulate` batches of `batch` windows. learning_rate: the highest,
    relative to the parameters: it rises over the first tenth of the steps and falls along half a cosine."""

    steps: int
    batch: int
    accumulate: int
    learning_rate: float
    seed: int

    def rate(self, step: int) -> float:
        warm_up = max(round(_WARM_UP * self.steps), 1)
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        done = (step - warm_up) / max(self.steps - warm_up, 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Course:
    """What happened. kept: the step whose parameters were kept, 0: none. kl: by step, on the text held out."""

    kept: int
    kl: dict[int, float]


def divergence(teacher: Decoder, student: Decoder, changes: Changes, tokens: Tensor) -> Tensor:
    """Mean KL(teacher || student) in nats per token of int64 [batch][n], what follows every token counted."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        expected = teacher.logits(tokens).log_softmax(-1)
    found = student.logits(tokens, changes).log_softmax(-1)
    return functional.kl_div(found, expected, reduction="sum", log_target=True) / tokens.numel()


def batches(windows: Sequence[Sequence[int]], size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of windows of one length, each window once before any comes again, in an order by the seed."""
    import torch

    tokens = torch.tensor(windows, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while True:
        while len(order) < size:
            order += torch.randperm(len(tokens), generator=generator).tolist()
        taken, order = order[:size], order[size:]
        yield tokens[taken]


def descend(
    teacher: Decoder,
    student: Decoder,
    parameters: Parameters,
    windows: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    schedule: Schedule,
    report: Report,
) -> Course:
    """Tunes the parameters and leaves them as they were when the divergence on `held_out` was least.

    windows, held_out: of one length. report: counts batches.
    """
    import torch

    optimiser = torch.optim.Adam(parameters.values.values(), lr=schedule.learning_rate, betas=_BETAS)
    supply = batches(windows, schedule.batch, schedule.seed)
    total, done = schedule.steps * schedule.accumulate, 0
    check_every = max(schedule.steps // _N_CHECKS, 1)

    def check() -> float:
        with torch.no_grad():
            changes = parameters.changes()
            parts = [divergence(teacher, student, changes, torch.tensor([window])) for window in held_out]
            return float(torch.stack(parts).mean())

    report(0, total)
    course = {0: check()}
    kept, best = 0, parameters.copy()
    for step in range(schedule.steps):
        optimiser.param_groups[0]["lr"] = schedule.rate(step)
        optimiser.zero_grad()
        for _ in range(schedule.accumulate):
            loss = divergence(teacher, student, parameters.changes(), next(supply)) / schedule.accumulate
            torch.autograd.backward(loss)
            done += 1
            report(done, total)
        optimiser.step()
        if (step + 1) % check_every == 0 or step + 1 == schedule.steps:
            course[step + 1] = check()
            if course[step + 1] < course[kept]:
                kept, best = step + 1, parameters.copy()
    parameters.restore(best)
    return Course(kept, course)
