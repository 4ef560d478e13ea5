"""The discrete cosine transform (DCT-II, orthonormal) and its inverse, in numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def dct(values: Floats, axis: int) -> Floats:
    """Orthonormal DCT-II along an axis, by the FFT: a fixed order of operations, whatever the number of threads."""
    n = values.shape[axis]
    values = np.moveaxis(values, axis, -1)
    reordered = np.concatenate([values[..., ::2], values[..., 1::2][..., ::-1]], axis=-1)
    turned = np.fft.fft(reordered) * np.exp(-0.5j * np.pi * np.arange(n) / n)
    found = turned.real * np.sqrt(2.0 / n)
    found[..., 0] *= np.sqrt(0.5)
    return np.moveaxis(found, -1, axis)


def inverse_dct(values: Floats, axis: int) -> Floats:
    """The inverse of dct()."""
    n = values.shape[axis]
    values = np.moveaxis(values, axis, -1) * np.sqrt(n / 2.0)
    values[..., 0] *= np.sqrt(2.0)
    mirrored = np.concatenate([np.zeros_like(values[..., :1]), values[..., :0:-1]], axis=-1)
    reordered = np.fft.ifft((values - 1j * mirrored) * np.exp(0.5j * np.pi * np.arange(n) / n)).real
    out = np.empty_like(values)
    out[..., ::2] = reordered[..., : (n + 1) // 2]
    out[..., 1::2] = reordered[..., (n + 1) // 2 :][..., ::-1]
    return np.moveaxis(out, -1, axis)
