"""What is to be packed: the tensors of a `.rbe` file and where each comes from, without any weight read yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.ternary import Code
from rbe_edge.sources.types import FloatArray, SourceTensor


@dataclass(frozen=True)
class Stored:
    """A tensor that is encoded already, as the writer needs it: its kind, its data, its own fields of the index, and
    its relative error, not squared."""

    kind: int
    data: bytes
    entry: bytes
    error: float


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the file, [rows][cols]; a vector has one row.

    It is `source` (from start to stop along axis, where that is fused), transposed where the source has
    [inputs][outputs], e to the power of that where `exponential`, plus one where the source keeps norm weights
    relative to one, times `scale`; or `values`, computed already. head_order: which of the source's rows (of a vector:
    numbers) of each head stand there, one after the other; empty: all as they are.
    `role` decides how it is stored: "matrix", "key_value" (a k or v that several query heads share), "embedding",
    "head", "router" (which experts a token uses, and how much a shared one counts), "decay" (what a recurrent layer
    forgets and takes in), "positions", "segments", "pooled" (a dense layer behind the last layer), "taps" (of a
    convolution), "norm", "bias", "rate" (above 0) or "frequencies".
    `reads` names the activation that a matrix multiplies: tensors with the same share their rotation.
    `stored`: encoded already, in a code that needs no choice of bits. `grouped`: binary or ternary, so that this code
    holds it without loss, and it is never stored otherwise in fewer than 16 bits.
    """

    name: str
    role: str
    rows: int
    cols: int
    source: SourceTensor | None = None
    axis: int = 0
    start: int = 0
    stop: int | None = None
    transposed: bool = False
    exponential: bool = False
    plus_one: bool = False
    scale: float = 1.0
    head_order: tuple[int, ...] = ()
    values: FloatArray | None = None
    reads: str = ""
    stored: Stored | None = None
    grouped: Code | None = None

    @property
    def source_kind(self) -> str:
        """How the source stores it: "fp32", "fp16" or "bf16"."""
        return self.source.kind if self.source is not None else "fp32"

    def read(self) -> FloatArray:
        """The values as float[rows][cols], contiguous. Raises PackError where they are not all finite, or a rate is
        not above 0."""
        if self.source is None:
            assert self.values is not None
            return self.values
        values = self.source.read(self.axis, self.start, self.stop)
        if self.transposed:
            values = np.ascontiguousarray(values.T)
        values = values.reshape(self.rows, self.cols)
        if not np.isfinite(values).all():
            raise PackError(f"{self.source.name}: holds numbers that are not finite; the source is damaged")
        if self.exponential:
            with np.errstate(over="ignore", under="ignore"):
                values = np.exp(values.astype(np.float64)).astype(np.float32)  # rounded once, alike on all machines
        if self.plus_one:
            values = values + np.float32(1)
        if self.scale != 1:
            values = values * np.float32(self.scale)
        if self.role == "rate" and not (np.isfinite(values) & (values > 0)).all():
            raise PackError(f"{self.source.name}: holds rates that are not above 0; the source is damaged")
        if self.head_order:
            size = len(self.head_order)
            heads = values.reshape(-1, size, self.cols if self.rows > 1 else 1)
            values = np.ascontiguousarray(heads[:, list(self.head_order)]).reshape(self.rows, self.cols)
        return values


@dataclass(frozen=True)
class ModelPlan:
    """The file to be written: its hyper-parameters (docs/format.md, section 3) and tensors, in the file's order.

    notes: what the source says otherwise than it is packed, a line each for the person who packs.
    """

    architecture: str
    metadata: Mapping[str, MetadataValue]
    tensors: tuple[TensorPlan, ...]
    notes: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> int:
        found = self.metadata["vocabulary"]
        assert isinstance(found, int)
        return found

    @property
    def is_encoder(self) -> bool:
        """Whether its tokens see those behind them."""
        return self.metadata.get("attention.direction") == "both"

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it reads a text with an encoder and answers to it."""
        return bool(self.metadata.get("encoder.layers"))

    @property
    def parameters(self) -> int:
        """Weights of the source, a tied lm_head counted once, and what stands in two places of the file."""
        places = {
            (tensor.source.name, tensor.start): tensor.rows * tensor.cols
            for tensor in self.tensors
            if tensor.source is not None
        }
        return sum(places.values())
