"""How each tensor is stored, decided before anything is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.packing import codec, writer
from rbe_edge.packing.plan import TensorPlan
from rbe_edge.packing.sources import FloatArray

KIND_NAMES = {
    writer.KIND_FP32: "fp32", writer.KIND_FP16: "fp16", writer.KIND_BF16: "bf16", writer.KIND_TRELLIS: "trellis",
    writer.KIND_SEED64: "seed64", writer.KIND_BASIS: "basis",
}  # fmt: skip
_BYTES = {writer.KIND_FP32: 4, writer.KIND_FP16: 2, writer.KIND_BF16: 2}

TRELLIS_BITS = (2, 3, 4)
DENSE_BITS = (16, 32)

# Embedding and head want about 6 bits where the projections have 3 or 4: a tied embedding at 4 bits costs about half
# as much again as all projections at 3 (measured on an 18 M Llama).
_WIDE_PLANES = {4: (4, 2), 3: (4, 2), 2: (4,)}

# Keys and values that several query heads share are few, and all of those heads bear their errors: two bits more for
# them take 31 % off what stories260K loses at 4 bits (.0707 -> .0485 nats per token), for 3.5 % of its size. Two bits
# more for gate, up or down take 17 to 21 % off, for 9 % each (docs/architectures.md).
_SHARED_PLANES = {4: (4, 2), 3: (3, 2), 2: (2, 2)}


@dataclass(frozen=True)
class Recipe:
    """The planes of projections, of keys and values that heads share, of embedding and head; () is dense in `bits`."""

    bits: int
    projections: tuple[int, ...]
    key_values: tuple[int, ...]
    embedding: tuple[int, ...]

    def __str__(self) -> str:
        """As recorded in the file (`packer.options`)."""

        def planes(value: tuple[int, ...]) -> str:
            return "+".join(map(str, value)) or f"dense{self.bits}"

        parts = {"projections": self.projections, "key_values": self.key_values, "embedding": self.embedding}
        return " ".join([f"bits={self.bits}", *(f"{name}={planes(value)}" for name, value in parts.items())])


def recipe(bits: int) -> Recipe:
    """What --bits means."""
    if bits in DENSE_BITS:
        return Recipe(bits, (), (), ())
    return Recipe(bits, (bits,), _SHARED_PLANES[bits], _WIDE_PLANES[bits])


@dataclass(frozen=True)
class Storage:
    """How one tensor is stored: its kind, and its planes where that is the trellis."""

    kind: int
    planes: tuple[int, ...]
    n_bytes: int


def choose(tensor: TensorPlan, how: Recipe) -> Storage:
    """The storage of a tensor. Reads its weights only where fp16 might be too narrow for them."""
    if tensor.role in ("norm", "bias", "frequencies") or how.bits == 32:
        return _dense(tensor, writer.KIND_FP32)
    if tensor.stored is not None:
        return Storage(tensor.stored.kind, (), len(tensor.stored.data))
    planes = {
        "matrix": how.projections,
        "key_value": how.key_values,
        "embedding": how.embedding,
        "head": how.embedding,
    }.get(tensor.role, ())
    if planes:
        n_bytes = codec.encoded_bytes(tensor.rows, tensor.cols, planes)
        if n_bytes is not None:  # None: streams under 32 steps, which lose too much
            return Storage(writer.KIND_TRELLIS, planes, n_bytes)
    if tensor.source_kind == "bf16":
        return _dense(tensor, writer.KIND_BF16)
    if tensor.source_kind == "fp32" and _beyond_fp16(tensor.read()):
        return _dense(tensor, writer.KIND_FP32)
    return _dense(tensor, writer.KIND_FP16)


#: Roles whose tensors may be coded in a trellis; positions, norms and the like are few.
CODED_ROLES = ("matrix", "key_value", "embedding", "head")


def trellis(tensor: TensorPlan, planes: tuple[int, ...]) -> Storage | None:
    """A tensor as a sum of planes; None where its streams would be under 32 steps, which lose too much."""
    n_bytes = codec.encoded_bytes(tensor.rows, tensor.cols, planes)
    return None if n_bytes is None else Storage(writer.KIND_TRELLIS, planes, n_bytes)


def dense(tensor: TensorPlan, bits: int) -> Storage:
    """A tensor as numbers of 16 or 32 bits. Reads its weights only where fp16 might be too narrow for them."""
    if tensor.role in ("norm", "bias", "frequencies") or bits == 32:
        return _dense(tensor, writer.KIND_FP32)
    if tensor.stored is not None:
        return Storage(tensor.stored.kind, (), len(tensor.stored.data))
    if tensor.source_kind == "bf16":
        return _dense(tensor, writer.KIND_BF16)
    if tensor.source_kind == "fp32" and _beyond_fp16(tensor.read()):
        return _dense(tensor, writer.KIND_FP32)
    return _dense(tensor, writer.KIND_FP16)


def padded(n_bytes: int) -> int:
    """What n_bytes take in a file, where everything begins at a multiple of 64."""
    return -(-n_bytes // writer.ALIGNMENT) * writer.ALIGNMENT


def _beyond_fp16(values: FloatArray) -> bool:
    return bool(max(values.max(), -values.min()) > np.finfo(np.float16).max)


def _dense(tensor: TensorPlan, kind: int) -> Storage:
    return Storage(kind, (), tensor.rows * tensor.cols * _BYTES[kind])


def data_of(tensor: TensorPlan, store: Storage) -> tuple[bytes | npt.NDArray[np.generic], float]:
    """The data of a tensor that is no trellis, and its relative squared error."""
    if tensor.stored is not None and store.kind == tensor.stored.kind:
        return tensor.stored.data, tensor.stored.error**2
    return dense_data(tensor.read(), store.kind)


def dense_data(values: FloatArray, kind: int) -> tuple[npt.NDArray[np.generic], float]:
    """The numbers as stored and their relative squared error, 0 where every one is exact."""
    if kind == writer.KIND_FP32:
        return values.astype("<f4", copy=False), 0.0
    if kind == writer.KIND_BF16:
        # chosen for bf16 sources alone: the lower half is zero
        bits = values.view(np.uint32)
        assert not (bits & 0xFFFF).any()
        return (bits >> 16).astype("<u2"), 0.0
    half = values.astype("<f2")
    norm = codec.squared_norm(values)
    left = np.subtract(half, values, dtype=np.float32)
    return half, codec.squared_norm(left) / norm if norm > 0 else 0.0


def rotation_seed(source_sha256: str, reads: str) -> int:
    """The seed of the rotation of an activation: the same for the same source, another for every activation."""
    return int.from_bytes(hashlib.sha256(f"{source_sha256} {reads}".encode()).digest()[:8], "little")
