"""Which numbers of a packed model are tuned, and how a parameter changes each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbe_edge.format import writer
from rbe_edge.format.reader import RbeFile
from rbe_edge.tuning.decoder import Changes, Decoder

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor

_LEAST_BIAS = 1e-3
"""The unit in which a bias moves is its root mean square; this where it is all but zero."""


class Parameters:
    """One number for each row of a trellis matrix, entry of a norm and of a bias, all zero at first.

    They are relative, so that one learning rate serves all: a row or a norm's weight w becomes w (1 + x), a bias b
    becomes b + x rms(b). Rows of the output are not rotated, so the gain of a row is that of its row scales.
    """

    def __init__(self, decoder: Decoder, file: RbeFile) -> None:
        import torch

        self._base: dict[str, Tensor] = {}  # the vectors as packed
        self._units: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        for name, tensor in file.tensors.items():
            size = tensor.entry.rows
            if not tensor.is_trellis:
                if tensor.entry.kind != writer.KIND_FP32 or tensor.entry.rows != 1 or name.startswith("rope."):
                    continue
                base = decoder.tensors[name][0]
                size = base.numel()
                self._base[name] = base
                if name.endswith(".bias"):
                    self._units[name] = base.square().mean().sqrt().clamp(min=_LEAST_BIAS)
                else:
                    self._units[name] = base
            self.values[name] = torch.zeros(size, requires_grad=True)

    @property
    def count(self) -> int:
        return sum(value.numel() for value in self.values.values())

    def changes(self) -> Changes:
        """As the decoder takes them; gradients flow back to `values`."""
        gains = {name: 1 + value for name, value in self.values.items() if name not in self._base}
        vectors = {name: base + self._units[name] * self.values[name] for name, base in self._base.items()}
        return Changes(gains, vectors)

    def copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.values.items()}

    def restore(self, values: dict[str, Tensor]) -> None:
        import torch

        with torch.no_grad():
            for name, value in values.items():
                self.values[name].copy_(value)
