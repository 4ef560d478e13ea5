"""What a model's errors are measured by, as the backward pass of curvature.py needs it: for decoders the divergence of
what is predicted, of which labels that are drawn give the curvature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rbe_edge.runtime.gradient_values import Gradient
    from rbe_edge.runtime.gradients import Gradients
    from rbe_edge.runtime.model import Model

FloatArray = npt.NDArray[np.float32]
Show = Callable[["Gradient"], None]

NATS_PER_TOKEN = "nats per token"


class Loss(Protocol):
    """name: tells what is kept of one from what is kept of another. unit: for people, such as "nats per token".
    damping: of the curvature, relative to the mean of its diagonal."""

    name: str
    unit: str
    damping: float

    def windows(self, windows: Sequence[Any]) -> list[Any]:
        """Those that are used, in the order in which they run: of equal length beside one another."""

    def units(self, windows: Sequence[Any]) -> float:
        """How many losses a window has: its tokens, or 1."""

    def gradient(
        self, gradients: Gradients, states: FloatArray, window: int, seed: int, show: Show | None
    ) -> FloatArray:
        """By the hidden states behind the last layer, float32 [n][width], of windows of `window` tokens: of a draw
        whose square has the curvature as its mean. show: sees what the model learns behind the layers."""

    def by_looked_up(self, windows: Sequence[Sequence[int]], d_hidden: FloatArray) -> FloatArray:
        """From the gradient before the first layer to that by the rows of the embedding, times its scale."""


class WordLoss:
    """Predictions of the next token, nats per token. model: any."""

    name = "words"
    unit = NATS_PER_TOKEN
    damping = 0.1  # docs/codec.md has the measurement

    def __init__(self, model: Model) -> None:
        pass

    def windows(self, windows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Those as long as the first one."""
        return [window for window in windows if len(window) == len(windows[0])]

    def units(self, windows: Sequence[Sequence[int]]) -> float:
        return float(len(windows[0]))

    def gradient(
        self, gradients: Gradients, states: FloatArray, window: int, seed: int, show: Show | None
    ) -> FloatArray:
        return gradients.head(states, window=window, seed=seed, show=show).d_hidden

    def by_looked_up(self, windows: Sequence[Sequence[int]], d_hidden: FloatArray) -> FloatArray:
        return d_hidden


class AnswerLoss(WordLoss):
    """Predictions of the tokens of answers to texts, nats per token. Windows are pairs (pairs.py)."""

    name = "answers"
    damping = 0.2  # docs/encoder_decoders.md has the measurement

    def windows(self, windows: Sequence[Any]) -> list[Any]:
        """All, by the lengths of both."""
        return sorted(windows, key=lambda pair: (len(pair.text), len(pair.answer)))

    def units(self, windows: Sequence[Any]) -> float:
        """Tokens of an answer."""
        return sum(len(pair.answer) for pair in windows) / len(windows)
