"""A rule of an architecture and a tensor of a source make a tensor of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rbe_edge.errors import PackError
from rbe_edge.sources.architecture import Architecture, Rule
from rbe_edge.sources.arranged import part_of_heads
from rbe_edge.sources.plan import TensorPlan
from rbe_edge.sources.rotary_order import of_neighbours
from rbe_edge.sources.types import SourceTensor

# Which matrices multiply the same activation, so that it is rotated once (docs/format.md, section 4).
_SHARED = ("q", "k", "v", "gate", "up")


def tensor_plan(
    row: Architecture, rule: Rule, target: str, tensor: SourceTensor, sizes: Mapping[str, int]
) -> TensorPlan:
    """One tensor, once its shape and its numbers are as expected."""
    rows, cols = sizes[rule.rows], sizes[rule.cols]
    vector = rule.rows == "one"
    outputs = cols if vector else rows
    pieces = [sizes[size] for size in rule.fused] or [outputs]
    heads = outputs // pieces[rule.piece] if rule.per_head else 1
    transposed = row.transposed and rule.role == "matrix"
    expected: tuple[int, ...] = (heads * sum(pieces),) if vector else (heads * sum(pieces), cols)
    if transposed:
        expected = expected[::-1]
    if rule.role == "taps" and tensor.shape == (expected[0], 1, cols) and tensor.data.size == expected[0] * cols:
        tensor = replace(tensor, shape=expected, data=tensor.data.reshape(expected))
    also = (1, cols) if vector and rule.role == "router" else expected  # a share: sources have it either way
    if tensor.shape not in (expected, also):
        raise PackError(
            f"{tensor.name}: shape {list(tensor.shape)}, the configuration asks for {list(expected)}; check both"
        )
    if tensor.kind not in ("fp32", "fp16", "bf16"):
        raise PackError(f"{tensor.name}: numbers of type {tensor.kind} are not read; pack the fp32, fp16 or bf16 model")
    if row.neighbours and target.removesuffix(".bias").endswith((".attention.q", ".attention.k")):
        tensor = of_neighbours(tensor, sizes["heads" if rule.rows == "query" or rule.cols == "query" else "kv_heads"])
    if rule.per_head:
        tensor = part_of_heads(tensor, pieces, rule.piece)
    start = 0 if rule.per_head else sum(pieces[: rule.piece])
    shared = rule.role == "matrix" and rule.rows == "key" and sizes["kv_heads"] < sizes["heads"]
    return TensorPlan(
        target,
        "key_value" if shared else rule.role,
        rows,
        cols,
        tensor,
        axis=1 if transposed else 0,
        start=start,
        stop=start + outputs if rule.fused and not rule.per_head else None,
        transposed=transposed,
        exponential=rule.change == "exponential",
        plus_one=row.norm_plus_one and rule.role == "norm" and not target.endswith(".gated_norm"),
        scale=-1.0 if rule.change == "negative" else row.norm_scales.get(target, 1.0),
        reads=_activation_read(target),
    )


def _activation_read(target: str) -> str:
    """A name for what a matrix multiplies: one for q, k, v and the gate of attention, one for gate, up, one for the k
    and v of a text, else its own."""
    parts = target.split(".")
    if len(parts) >= 4 and parts[-1] in _SHARED and parts[-2] != "cross":
        return ".".join([*parts[:-1], "input"])
    if len(parts) == 4 and parts[3] in ("k", "v"):
        return ".".join([*parts[:3], "text"])
    return target
