"""What a packing has to do, in units of each kind of work, and how long a unit takes (docs/engine.md, "How far a
packing is").

Units: "reading" and "writing" a GB of a file; "copying" a G of weights into the dense copy; "passing" a G of
multiplications of the engine's dense kernel; "factoring" a G of n^3, for a matrix of n columns; "encoding" a M of
weights at 4 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rbe_edge.sources.plan import ModelPlan, TensorPlan

RATES = {"reading": 0.9, "copying": 20.0, "passing": 0.021, "factoring": 0.06, "encoding": 0.33, "writing": 1.5}
"""Seconds for a unit on two AVX2 cores of an AMD EPYC. Only the ratios matter after the first seconds (forecast.py)."""

_PLANE_COST = {1: 6.0, 2: 2.3, 3: 1.4, 4: 1.0}  # docs/codec.md, "Error", of the encoder's speed
_QUICK_COST = {1: 2.0, 2: 0.9, 3: 0.65, 4: 0.55}

_READ = (
    "attention.q", "attention.o", "convolution.in", "convolution.out", "recurrence.v", "recurrence.o",
    "feed_forward.up", "feed_forward.down", "shared.up", "shared.down",
)  # fmt: skip
"""One matrix for each input of a layer."""

Work = Mapping[str, float]
"""Units by kind."""

Weights = Mapping[str, int]
"""The number of weights of each tensor of a file."""


def layer_and_part(name: str) -> tuple[int | None, str]:
    """'layers.3.attention.q' -> (3, 'attention.q')."""
    parts = name.split(".", 2)
    if len(parts) == 3 and parts[0] == "layers" and parts[1].isdigit():
        return int(parts[1]), parts[2]
    return None, name


def layers_of(weights: Weights) -> int:
    """How many layers a model has."""
    return 1 + max(map(_layer, weights), default=-1)


def weights_of(plan: ModelPlan) -> dict[str, int]:
    return {tensor.name: tensor.rows * tensor.cols for tensor in plan.tensors}


def added(*works: Work) -> dict[str, float]:
    """All of several works."""
    total: dict[str, float] = {}
    for work in works:
        for kind, units in work.items():
            total[kind] = total.get(kind, 0.0) + units
    return total


def pass_units(weights: Weights, first: int, end: int, n_tokens: int) -> float:
    """Of "passing": so many tokens through the layers from `first` up to `end`."""
    return n_tokens * sum(n for name, n in weights.items() if first <= _layer(name) < end) / 1e9


def moment_units(weights: Weights, first: int, end: int, n_tokens: int) -> float:
    """Of "passing": the sums x x^T of what the matrices of these layers read, as if these were square. A triangle, but
    of half the speed."""
    read = (n for name, n in weights.items() if first <= _layer(name) < end and layer_and_part(name)[1] in _READ)
    return n_tokens * sum(read) / 1e9


def back_units(weights: Weights, layer: int, n_tokens: int) -> float:
    """Of "passing": the way back through a layer, or the head, which has the number of layers; and of each matrix the
    sum of G^T G, as if it were square."""
    if layer >= layers_of(weights):
        n = weights.get("head", weights.get("embedding", 0))
    else:
        n = sum(n for name, n in weights.items() if _layer(name) == layer)
    return n_tokens * 4 * n / 1e9


def factor_units(cols: int) -> float:
    """Of "factoring"."""
    return cols**3 / 1e9


def encode_units(n_weights: int, planes: Iterable[int], quick: bool = False) -> float:
    """Of "encoding": a matrix as a sum of planes."""
    cost = _QUICK_COST if quick else _PLANE_COST
    return n_weights * sum(cost[bits] for bits in planes) / 1e6


def guessed_planes(bits: float) -> tuple[int, ...]:
    """What most matrices get in a file of so many bits."""
    whole = min(max(round(bits), 1), 8)
    return (whole,) if whole <= 4 else (4, whole - 4)


def encoding(left: Iterable[tuple[TensorPlan, Sequence[int]]], file_bytes: float, quick: bool) -> dict[str, float]:
    """Matrices with their planes, and the file."""
    units = sum(encode_units(tensor.rows * tensor.cols, planes, quick) for tensor, planes in left)
    return {"encoding": units, "writing": 2 * file_bytes / 1e9}


def _layer(name: str) -> int:
    layer, _ = layer_and_part(name)
    return -1 if layer is None else layer
