"""Binary and ternary data, decoded from docs/format.md, "Groups", alone; for reference_decoder.py."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def group_values(
    data: bytes, shape: tuple[int, int], group: int, tensor_scale: float, *, binary: bool
) -> npt.NDArray[np.float64]:
    """The weights, [rows][cols]."""
    rows, cols = shape
    units, of_code = -(-rows // 64), 8 if binary else 5
    n_strips = -(-units // 4)
    block, n_scales = min(group or 256, 256), -(-cols // (group or cols))
    widths = [min(block, cols - first) for first in range(0, cols, block)]
    n_codes = sum(-(-width // of_code) for width in widths)
    values = np.zeros((units * 64, cols))
    scale_at, code_at = 0, units * 64 * n_scales * 2
    for strip in range(n_strips):
        first = strip * units // n_strips * 64
        n = (strip + 1) * units // n_strips * 64 - first
        scales = np.frombuffer(data, "<f2", n * n_scales, scale_at).reshape(n_scales, n).astype(np.float64)
        codes = np.frombuffer(data, np.uint8, n * n_codes, code_at).reshape(n_codes, n)
        scale_at, code_at = scale_at + 2 * n * n_scales, code_at + n * n_codes
        code = column = 0
        for width in widths:
            for i in range(width):
                byte = codes[code + i // of_code].astype(np.int64)
                if binary:
                    weight = 2 * (byte >> i % 8 & 1) - 1
                else:
                    weight = (byte * 3 ** (i % 5) % 256) * 3 // 256 - 1
                values[first : first + n, column] = tensor_scale * scales[column // (group or cols)] * weight
                column += 1
            code += -(-width // of_code)
    assert code_at == len(data), "the parts do not fill the tensor"
    return values[:rows]
