"""How each tensor is stored, decided before anything is written."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import grouped, trellis
from rbe_edge.format import writer
from rbe_edge.sources.plan import TensorPlan
from rbe_edge.sources.types import FloatArray

KIND_NAMES = {
    writer.KIND_FP32: "fp32", writer.KIND_FP16: "fp16", writer.KIND_BF16: "bf16", writer.KIND_TRELLIS: "trellis",
    writer.KIND_SEED64: "seed64", writer.KIND_BASIS: "basis", writer.KIND_TERNARY: "ternary",
    writer.KIND_BINARY: "binary",
}  # fmt: skip
_BYTES = {writer.KIND_FP32: 4, writer.KIND_FP16: 2, writer.KIND_BF16: 2}

DENSE_BITS = (16, 32)


@dataclass(frozen=True)
class Storage:
    """How one tensor is stored: its kind, and its planes where that is the trellis."""

    kind: int
    planes: tuple[int, ...]
    n_bytes: int


#: Roles whose tensors may be coded in a trellis; positions, norms and the like are few.
CODED_ROLES = ("matrix", "key_value", "embedding", "layer_embedding", "head")


def in_planes(tensor: TensorPlan, planes: tuple[int, ...]) -> Storage | None:
    """A tensor as a sum of planes; None where its streams would be under 32 steps, which lose too much."""
    n_bytes = trellis.encoded_bytes(tensor.rows, tensor.cols, planes)
    return None if n_bytes is None else Storage(writer.KIND_TRELLIS, planes, n_bytes)


def dense(tensor: TensorPlan, bits: int) -> Storage:
    """A tensor as numbers of 16 or 32 bits. Reads its weights only where fp16 might be too narrow for them."""
    if tensor.role in ("norm", "bias", "rate", "frequencies", "segments", "taps") or bits == 32:
        return _dense(tensor, writer.KIND_FP32)
    if tensor.role in ("router", "decay") and tensor.source_kind == "fp32":  # these decide: which experts, what is kept
        return _dense(tensor, writer.KIND_FP32)
    if tensor.grouped is not None:
        kind = writer.KIND_BINARY if tensor.grouped.binary else writer.KIND_TERNARY
        return Storage(kind, (), grouped.encoded_bytes(tensor.rows, tensor.cols, tensor.grouped))
    if tensor.stored is not None:
        return Storage(tensor.stored.kind, (), len(tensor.stored.data))
    if tensor.source_kind == "bf16":
        return _dense(tensor, writer.KIND_BF16)
    if tensor.source_kind == "fp32" and _beyond_fp16(tensor.read()):
        return _dense(tensor, writer.KIND_FP32)
    return _dense(tensor, writer.KIND_FP16)


def entry(tensor: TensorPlan, store: Storage, codebooks: Sequence[int] = (), seed: int = 0) -> writer.TensorEntry:
    """What the index of a file says of a tensor that is stored in this way. codebooks: bits of each table of the file,
    in its order. seed: of the rotation; both matter to a trellis alone."""
    if not store.planes:
        own = tensor.stored.entry if tensor.stored is not None else b""
        if tensor.grouped is not None and store.kind in (writer.KIND_TERNARY, writer.KIND_BINARY):
            own = struct.pack("<If", tensor.grouped.group, tensor.grouped.tensor_scale)
        return writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes, own=own)
    return writer.TensorEntry(
        tensor.name,
        store.kind,
        tensor.rows,
        tensor.cols,
        store.n_bytes,
        seed=seed,
        rotation_block=trellis.rotation_block(tensor.cols),
        codebooks=tuple(codebooks.index(bits) for bits in store.planes),
    )


def described(
    tensors: Sequence[TensorPlan], stores: Sequence[Storage], seed_of: Callable[[TensorPlan], int]
) -> tuple[list[writer.CodebookEntry], list[writer.TensorEntry]]:
    """The codebooks and the index of a file of tensors stored in these ways."""
    used = sorted({bits for store in stores for bits in store.planes})
    books = [trellis.CODEBOOKS[bits] for bits in used]
    entries = [entry(tensor, store, used, seed_of(tensor)) for tensor, store in zip(tensors, stores, strict=True)]
    return [writer.CodebookEntry(book.bits, tuple(book.t1), tuple(book.t2)) for book in books], entries


def _beyond_fp16(values: FloatArray) -> bool:
    return bool(max(values.max(), -values.min()) > np.finfo(np.float16).max)


def _dense(tensor: TensorPlan, kind: int) -> Storage:
    return Storage(kind, (), tensor.rows * tensor.cols * _BYTES[kind])


def data_of(tensor: TensorPlan, store: Storage) -> tuple[bytes | npt.NDArray[np.generic], float]:
    """The data of a tensor that is no trellis, and its relative squared error."""
    if tensor.grouped is not None and store.kind in (writer.KIND_TERNARY, writer.KIND_BINARY):
        return grouped.encode(tensor.read(), tensor.grouped), 0.0
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
    norm = trellis.squared_norm(values)
    left = np.subtract(half, values, dtype=np.float32)
    return half, trellis.squared_norm(left) / norm if norm > 0 else 0.0


def rotation_seed(source_sha256: str, reads: str) -> int:
    """The seed of the rotation of an activation: the same for the same source, another for every activation."""
    return int.from_bytes(hashlib.sha256(f"{source_sha256} {reads}".encode()).digest()[:8], "little")
