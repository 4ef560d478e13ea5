"""Exponential Golomb codes of whole numbers from 0 on (docs/format.md). order: low bits that are written plainly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def histogram(symbols: Integers) -> tuple[Integers, Integers]:
    """Each value that occurs, and how often."""
    if symbols.size and symbols.max() < 1 << 16:
        counts = np.bincount(symbols)
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(symbols, return_counts=True)


def code_bits(n: Integers, order: int) -> Integers:
    """Lengths of the exponential Golomb codes of integers under 2^50: frexp counts their bits exactly."""
    return 2 * np.frexp(((n >> order) + 1).astype(np.float64))[1].astype(np.int64) - 1 + order


def codes(n: Integers, order: int) -> Integers:
    """The codes as integers: m with its low bits behind it; zeros before it are its length's."""
    return (((n >> order) + 1) << order) | (n & ((1 << order) - 1))


def packed(codes: Integers, lengths: Integers) -> bytes:
    """The codes one after the other, each in so many bits, its highest first; zeros fill the last byte."""
    ends = np.cumsum(lengths)
    behind = np.repeat(ends, lengths) - 1 - np.arange(ends[-1])  # bits of the same code that follow
    bits = np.where(behind < 62, np.repeat(codes, lengths) >> np.minimum(behind, 62), 0) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()
