"""Positions by distance, as T5 has them: a number per head and bucket of distances, which is added to scores. In a file
there is a number per head and distance (docs/format.md, "Encoder-decoders")."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.plan import TensorPlan
from rbe_edge.sources.types import Source

_STACKS = {"decoder": "positions.relative", "encoder": "encoder.positions.relative"}
_MOST = 1 << 16  # distance that is told from those beyond it


def _name(stack: str) -> str:
    return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def is_distances(name: str) -> bool:
    """Whether a tensor of a source has such numbers."""
    return name in map(_name, _STACKS)


def buckets(n_buckets: int, most: int, both: bool) -> npt.NDArray[np.int64]:
    """The bucket of each distance of a key from the query, from -most on: up to 0, or with `both` up to `most`; farther
    ones are in the same as the outermost. Computed in fp32 as transformers' T5 does it, since the borders depend on
    it."""
    distance = np.arange(most + 1)  # backwards
    n = n_buckets // 2 if both else n_buckets
    exact = n // 2
    with np.errstate(divide="ignore"):
        logarithm = np.log(distance.astype(np.float32) / np.float32(exact))
    scaled = logarithm / np.float32(math.log(most / exact)) * np.float32(n - exact)
    large = exact + np.where(distance < exact, 0, scaled).astype(np.int64)
    backwards = np.where(distance < exact, distance, np.minimum(large, n - 1))
    found: npt.NDArray[np.int64] = backwards[::-1].copy()
    return np.concatenate([found, backwards[1:] + n]) if both else found


def distances(config: Config, sizes: Mapping[str, int], source: Source) -> list[TensorPlan]:
    """The tensors. Raises PackError for numbers of buckets that cannot be."""
    n_buckets = config.integer("relative_attention_num_buckets")
    most = config.integer("relative_attention_max_distance")
    plans = []
    for stack, target in _STACKS.items():
        if stack == "decoder" and not sizes["encoder_layers"]:
            continue  # the encoder alone
        both = stack == "encoder"
        if n_buckets < (4 if both else 2) or n_buckets % 2 or not n_buckets // 2 < most <= _MOST:
            raise PackError(
                f"{config.where}: {n_buckets} buckets of distances up to {most} cannot be; correct "
                f"relative_attention_num_buckets and relative_attention_max_distance"
            )
        name = _name(stack)
        tensor = source.tensors.get(name)
        if tensor is None:
            raise PackError(f"{source.name}: the tensor {name} is missing; download the weights again")
        if tensor.shape != (n_buckets, sizes["heads"]):
            expected = [n_buckets, sizes["heads"]]
            raise PackError(f"{name}: shape {list(tensor.shape)}, the configuration asks for {expected}; check both")
        values = tensor.read()
        if not np.isfinite(values).all():
            raise PackError(f"{name}: holds numbers that are not finite; the source is damaged")
        table = np.ascontiguousarray(values[buckets(n_buckets, most, both)].T)
        name = target if sizes["encoder_layers"] else _STACKS["decoder"]
        rows, cols = table.shape
        plans.append(TensorPlan(name, "frequencies", rows, cols, values=table))
    return plans
