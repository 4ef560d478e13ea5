"""In which type of llama.cpp the weights of a GGUF file are.

Weights that were quantised once lie on the grid of their type. Quantised again to the same type they lose nearly
nothing, so such a file says nothing of how good the type is.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from rbe_edge.sources.gguf.header import read_header
from rbe_edge.sources.gguf.tensors import GgufTensor
from rbe_edge.sources.types import Source

_SHARE = 5  # a type counts where a fifth of the weights of layers are in it

_FINER = {"Q4_0": ("Q5_0",)}  # its steps are half as long, from the same largest weight


@dataclass(frozen=True)
class OwnType:
    """file_type: llama.cpp's number of its mixture (enum llama_ftype), None where the file does not say. grids: ggml's
    names of the types that a fifth or more of the quantised weights of layers have, most first: a mixture has several,
    and llama.cpp takes another one for widths that a type cannot store."""

    file_type: int | None
    grids: tuple[str, ...]

    def on_grid(self, name: str) -> bool:
        """Whether a type or mixture, such as Q4_K_M, is named after one that weights have, or holds its grid."""
        grids = (*self.grids, *(finer for grid in self.grids for finer in _FINER.get(grid, ())))
        return any(name == grid or name.startswith(f"{grid}_") for grid in grids)


def own_type(source: Source) -> OwnType | None:
    """Of a source; None where the weights of its layers are no quantised ones."""
    if source.layout != "gguf":
        return None
    weights: Counter[str] = Counter()
    for name, tensor in source.tensors.items():
        if name.startswith("blk.") and isinstance(tensor, GgufTensor) and tensor.quantised is not None:
            weights[tensor.quantised.name] += math.prod(tensor.shape)
    if not weights:
        return None
    number = read_header(source.weight_files[0]).metadata.get("general.file_type")
    ordered = sorted(weights, key=lambda name: (-weights[name], name))
    grids = tuple(name for name in ordered if _SHARE * weights[name] >= sum(weights.values()))
    return OwnType(number if isinstance(number, int) else None, grids or (ordered[0],))
