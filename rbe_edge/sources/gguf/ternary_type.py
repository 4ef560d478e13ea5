"""ggml's type Q2_0, of which there are two: a block is fp16 d and codes of 2 bits, the lowest of a byte first, each
d times its code less one. ggml has blocks of 64 weights; files of ternary models made before it knew the type have
blocks of 128. Nothing in a file says which, but the bytes that its tensors take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.sources.gguf.header import TensorInfo

NUMBER = 42
SIZES = (64, 128)


def bytes_of(weights: int) -> int:
    """Of a block of so many weights."""
    return 2 + weights // 4


def weights_of_blocks(infos: Iterable[TensorInfo], alignment: int) -> int | None:
    """How many weights the blocks of a file's tensors of the type have; None where both sizes would fit, or neither."""
    places = [info for info in infos if info.type == NUMBER]
    found = [size for size in SIZES if all(_fits(info, size, alignment) for info in places)]
    return found[0] if len(found) == 1 else None


def _fits(info: TensorInfo, size: int, alignment: int) -> bool:
    """Whether the tensor would fill its room but for what fills up to the next."""
    n_bytes = math.prod(info.shape) // size * bytes_of(size)
    return info.shape[-1] % size == 0 and n_bytes <= info.room < n_bytes + alignment


def dequantize(rows: npt.NDArray[Any], size: int) -> npt.NDArray[np.float32]:
    """uint8 [rows][bytes of whole blocks of `size` weights] as float32 [rows][weights]."""
    blocks = np.ascontiguousarray(rows).reshape(len(rows), -1, bytes_of(size))
    d = np.ascontiguousarray(blocks[:, :, :2]).view("<f2").astype(np.float32)
    codes = blocks[:, :, 2:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    values = codes.reshape(*blocks.shape[:2], size).astype(np.float32) - 1
    return np.asarray(values * d, np.float32).reshape(len(rows), -1)
