"""Windows of text on their way through the layers of a model and back, for curvature.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping
from rbe_edge.packing.loss import FloatArray, Loss, Show
from rbe_edge.runtime.model import Model

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradients

CALL_TOKENS = 1024
"""Of one call of the engine, in windows."""


class Passes(ABC):
    """Hidden states and gradients float32 [tokens][stream_width] are kept until a layer is left; what another packing
    of the model has taken away is computed again. A context manager, for one thread."""

    model: Model

    @abstractmethod
    def __init__(
        self,
        model: Model,
        windows: Sequence[Any],
        copy: DenseCopy,
        threads: int | None,
        forecast: Forecast,
        keeping: Keeping | None,
        loss: Loss,
    ) -> None:
        """windows: as the loss gives them. copy: of the model, with dense weights."""

    @staticmethod
    @abstractmethod
    def layers(model: Model) -> int:
        """How many there are on the way. They are gone through from the last to the first; their number stands for the
        head, which comes before them, and -1 for the embedding."""

    @abstractmethod
    def gradients_of(self, layer: int) -> Gradients:
        """That go_back() of the layer shows gradients of."""

    @abstractmethod
    def go_back(self, layer: int, show: Show | None = None) -> None:
        """The gradient by the hidden states before a layer. show: sees what is on the way."""

    @abstractmethod
    def looked_up(self) -> Iterator[tuple[Sequence[int], FloatArray]]:
        """Of each window the tokens, and the gradient by the rows of the embedding that they looked up, times its
        scale, [tokens][width]."""

    def looked_up_for_layers(self, show: Show) -> list[tuple[Sequence[int], FloatArray]]:
        """Of each window the tokens, and the gradient by the rows of the table of layer embeddings that they looked up,
        [tokens][cols]; empty where there is none. show: sees what stands between these and the layers."""
        return []

    @abstractmethod
    def leave(self, layer: int) -> None:
        """Nothing more is asked of this layer but the gradient before it."""

    @abstractmethod
    def close(self) -> None:
        """Frees the memory of gradients."""

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def settings(loss: Loss) -> str:
    """What statistics depend on besides the model and the windows."""
    return f"curvature of both roles, bands of each, {loss.name} {loss.damping}"
