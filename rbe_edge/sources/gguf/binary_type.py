"""ggml's type Q1_0, which package gguf names and does not dequantise: 128 weights in 18 bytes, fp16 d and a bit for
each weight, the lowest of a byte first: d where it is 1, -d where it is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NUMBER, WEIGHTS, BYTES = 41, 128, 18


def dequantize(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """uint8 [rows][bytes of whole blocks] as float32 [rows][weights]."""
    blocks = np.ascontiguousarray(rows).reshape(len(rows), -1, BYTES)
    d = np.ascontiguousarray(blocks[:, :, :2]).view("<f2").astype(np.float32)
    bits = np.unpackbits(blocks[:, :, 2:], axis=2, bitorder="little").view(np.bool_)
    return np.where(bits, d, -d).reshape(len(rows), -1)
