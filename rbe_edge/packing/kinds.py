"""What packing does with a model before it encodes, by the kind of model: a decoder, an encoder, an encoder-decoder.

Each kind reads the calibration text in its own way, finds sensitivities and the factors for feedback, and measures the
file on what it held out. kind_of() says which kind a model is; nothing else of packing asks for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rbe_edge.packing import curvature, estimates, pair_passes, schedule, sensitivity, survey
from rbe_edge.packing.calibration import tokens_of
from rbe_edge.packing.chat_text import conversation_tokens
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import Effort
from rbe_edge.packing.encoder_held_out import EncoderHeldOut, HeldOutDistance
from rbe_edge.packing.encoder_loss import EncoderLoss
from rbe_edge.packing.encoder_texts import ENCODER_TEXTS, encoder_windows
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.held_out import HeldOut, HeldOutKl
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.loss import NATS_PER_TOKEN, AnswerLoss
from rbe_edge.packing.pair_held_out import PairHeldOut
from rbe_edge.packing.pair_passes import PairPasses
from rbe_edge.packing.pairs import read_pairs
from rbe_edge.packing.survey import Survey
from rbe_edge.runtime.model import Model
from rbe_edge.sources.plan import ModelPlan, TensorPlan

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """At a model. copy: of it, with dense weights. tensors: that may be coded. keeping: under all that statistics
    depend on. encoding: the work that is left behind the look (schedule.py)."""

    copy: DenseCopy
    tensors: Sequence[TensorPlan]
    vocabulary: int
    seed_of: Callable[[TensorPlan], int]
    threads: int | None
    effort: Effort
    forecast: Forecast
    keeping: Keeping
    encoding: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """sensitivities: by tensor, per unit of relative squared error. factor(name): for feedback, None for a matrix that
    has none. unit: of what sensitivities foretell, for people; None where only their ratios mean something. energies:
    of the embedding and the lm_head, what errors in each band of rows cost; None where that is not known."""

    sensitivities: Mapping[str, float]
    factor: Callable[[str], FloatArray | None]
    unit: str | None
    energies: Mapping[str, Sequence[float]] | None = None


class Measure(Protocol):
    """What a source gives for held-out text."""

    def of(self, packed: Path) -> HeldOutKl | HeldOutDistance:
        """Of a file that was packed from the source."""


class Kind(ABC):
    """A calibration text as one kind of model reads it. n_tokens: of what statistics are of. settings: what statistics
    depend on besides the text and the effort. For one thread."""

    settings: tuple[str, ...] = ()
    n_tokens: int
    held_out: Measure

    @abstractmethod
    def __init__(self, model: Model, path: Path, text: str, effort: Effort, threads: int | None) -> None:
        """model: the copy with dense weights, which lies at `path`. Raises PackError where there is too little text."""

    @staticmethod
    @abstractmethod
    def expected(
        weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int, vocabulary: int, effort: Effort
    ) -> dict[str, float]:
        """What a look has to do, about (schedule.py). weights: of the copy."""

    @abstractmethod
    def look(self, look: Look) -> Found:
        """Runs the model. The copy is as before when this returns, not when it raises."""


class DecoderKind(Kind):
    """Windows of text, half of them conversations where the model has a chat template."""

    def __init__(self, model: Model, path: Path, text: str, effort: Effort, threads: int | None) -> None:
        tokens = tokens_of(model, text)
        self._windows = effort.windows(path, tokens, conversation_tokens(model, text, effort.reach))
        self.n_tokens = sum(map(len, self._windows.seen))
        self.held_out = HeldOut(path, tokens, effort.reach, threads)

    @staticmethod
    def expected(
        weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int, vocabulary: int, effort: Effort
    ) -> dict[str, float]:
        if effort.quick:
            return survey.expected(weights, tensors, n_tokens)
        measuring = sensitivity.expected(tensors, weights, vocabulary, effort)
        return schedule.added(curvature.expected(weights, tensors, n_tokens), measuring)

    def look(self, look: Look) -> Found:
        if look.effort.quick:
            return _surveyed(look, self._windows.seen, NATS_PER_TOKEN)
        copy, tensors, effort, threads = look.copy, look.tensors, look.effort, look.threads
        found = Curvature(copy, tensors, self._windows.seen, look.seed_of, threads, look.forecast, look.keeping)
        measuring = sensitivity.expected(tensors, copy.weights, look.vocabulary, effort)
        look.forecast.plan(schedule.added(measuring, look.encoding))
        keeping = Keeping(look.keeping.kept, sensitivity.work_key(look.keeping.key, effort))
        measurement = sensitivity.Measurement(
            copy, tensors, self._windows.unseen, look.seed_of, found.factor, threads, effort, keeping
        )
        checked = sensitivity.checked(measurement, found.sensitivities, look.forecast)
        return Found(checked, found.factor, found.unit, found.energies)


class EncoderKind(Kind):
    """Whole texts."""

    settings = (ENCODER_TEXTS,)

    def __init__(self, model: Model, path: Path, text: str, effort: Effort, threads: int | None) -> None:
        self._texts, unseen = encoder_windows(model, text, effort)
        self.n_tokens = sum(map(len, self._texts))
        self.held_out = EncoderHeldOut(model, unseen, threads)

    @staticmethod
    def expected(
        weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int, vocabulary: int, effort: Effort
    ) -> dict[str, float]:
        expected = survey.expected if effort.quick else curvature.expected
        return expected(weights, tensors, n_tokens)

    def look(self, look: Look) -> Found:
        if look.effort.quick:
            return _surveyed(look, self._texts, None)
        loss_of = partial(EncoderLoss, copy=look.copy)
        found = Curvature(
            look.copy, look.tensors, self._texts, look.seed_of, look.threads, look.forecast, look.keeping, loss_of
        )
        return Found(found.sensitivities, found.factor, found.unit, found.energies)


class EncoderDecoderKind(Kind):
    """Pairs of a text and its answer."""

    def __init__(self, model: Model, path: Path, text: str, effort: Effort, threads: int | None) -> None:
        self._pairs = read_pairs(model, text, effort)
        self.n_tokens = sum(map(len, self._pairs.seen))
        self.held_out = PairHeldOut(model, self._pairs, threads)

    @staticmethod
    def expected(
        weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int, vocabulary: int, effort: Effort
    ) -> dict[str, float]:
        return pair_passes.expected(weights, tensors, n_tokens)

    def look(self, look: Look) -> Found:
        found = Curvature(
            look.copy, look.tensors, self._pairs.seen, look.seed_of, look.threads, look.forecast, look.keeping,
            AnswerLoss, PairPasses,
        )  # fmt: skip
        return Found(found.sensitivities, found.factor, found.unit, found.energies)


def kind_of(plan: ModelPlan) -> type[Kind]:
    if plan.is_encoder_decoder:
        return EncoderDecoderKind
    return EncoderKind if plan.is_encoder else DecoderKind


def _surveyed(look: Look, windows: Sequence[Sequence[int]], unit: str | None) -> Found:
    """Estimates from one run of the model."""
    found = Survey(
        look.copy, look.tensors, windows, look.seed_of, look.threads, look.forecast, look.keeping, look.effort.damping
    )
    return Found(estimates.estimated(look.tensors, found.flow), found.factor, unit)
