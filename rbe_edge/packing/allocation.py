"""Which rate each tensor gets, so that the file fits a budget and the model loses least (docs/codec.md, "Deciding bits
per tensor")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.format.bands import is_band
from rbe_edge.packing import storage
from rbe_edge.packing.storage import Storage
from rbe_edge.sources.plan import ModelPlan, TensorPlan

#: Squared error of a sum of planes on a unit Gaussian, 512 x 512: docs/codec.md, "Error".
GAUSSIAN_ERROR: Mapping[tuple[int, ...], float] = {
    (1,): 0.2785, (2,): 0.07180, (3,): 0.01864, (4,): 0.00482, (4, 1): 0.001333, (4, 2): 0.000344, (4, 3): 0.0000906,
    (4, 4): 0.0000237, (2, 1): 0.0201, (2, 2): 0.00529,
}  # fmt: skip

STEEP: Mapping[tuple[int, ...], float] = {(1,): 4.0}
"""How many times more a rate costs than its squared error says: at 1 bit the divergence is no longer proportional to
it. Of 36 matrices half cost over 4 times what 2 bits predict, up to 16 (docs/codec.md, "Deciding bits per tensor")."""

#: Per number of bits the sum with the least error, which has the fewest planes too: each plane costs decode time.
RATE_POINTS: tuple[tuple[int, ...], ...] = ((1,), (2,), (3,), (4,), (4, 1), (4, 2), (4, 3), (4, 4))

#: Of a nested file, in which some matrices can be read by their first plane alone. One bit is no model, and neither
#: are two of an embedding or lm_head.
NESTED_POINTS: tuple[tuple[int, ...], ...] = (
    (2,), (3,), (4,), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (4, 4),
)  # fmt: skip
NESTED_WIDE_POINTS: tuple[tuple[int, ...], ...] = tuple(planes for planes in NESTED_POINTS if planes[0] > 2)

NESTED_ERROR: Mapping[tuple[int, ...], float] = {
    (2, 1): 0.0275, (2, 2): 0.0069, (3, 1): 0.0067, (3, 2): 0.00142, (4, 1): 0.00142, (4, 2): 0.00036,
}  # fmt: skip
"""As GAUSSIAN_ERROR, of all planes where the first one has feedback that suits it alone (docs/codec.md, "Nested
planes"): that of a single plane or of the usual sum of so many bits, times what `tools/feedback_loss.py --splits`
finds."""

DENSE_ERROR = 1e-8
"""Of fp16, about. An estimate is enough: more precision than that of fp16 gains nothing."""

MAX_CELLS = 1 << 18
"""Of the budget in the dynamic program."""

MAX_TABLE = 1 << 28
"""Of the dynamic program: with thousands of experts it has fewer cells."""

NESTED_LOSS = 1.12
NEED = 6.0
_STEPS = 8
_FEW_CELLS = 1 << 14

# Where nothing was measured: how much more a tensor counts per weight than a gate or up projection. A factor of 4 is
# one bit. From measurements on an 18 M Llama and, for keys and values that heads share, on stories260K (docs/codec.md).
_TENDENCIES = {"q": 1.0, "k": 1.0, "v": 4.0, "o": 1.0, "down": 2.0}
_SHARED = {"k": 4.0, "v": 8.0}
_WIDE = 16.0


@dataclass(frozen=True)
class Choice:
    """A rate point of a tensor. kl: nats per token that it is expected to cost. first_kl, first_bytes: that, and what
    is read, where only the first plane of a nested file is read."""

    storage: Storage
    kl: float
    first_kl: float
    first_bytes: int

    @property
    def file_bytes(self) -> int:
        """Of its data, with the padding before the next tensor."""
        return writer.padded(self.storage.n_bytes)


@dataclass(frozen=True)
class Decision:
    """What a tensor gets. choices: by ascending bytes, each with less kl than the one before; a single one where
    nothing is to be decided. sensitivity: nats per token and unit of relative squared error, 0 where there is no
    choice."""

    tensor: TensorPlan
    choices: tuple[Choice, ...]
    chosen: int
    sensitivity: float

    @property
    def choice(self) -> Choice:
        return self.choices[self.chosen]


def tendency(tensor: TensorPlan) -> float:
    """The sensitivity that is assumed where none was measured. Only ratios mean something."""
    part = tensor.name.rsplit(".", 1)[-1]
    if tensor.role in ("embedding", "head"):
        factor = _WIDE
    elif tensor.role == "key_value":
        factor = _SHARED.get(part, 1.0)
    else:
        factor = _TENDENCIES.get(part, 1.0)
    return factor * tensor.rows * tensor.cols * 1e-9


def choices_of(tensor: TensorPlan, sensitivity: float, nested: bool = False) -> tuple[Choice, ...]:
    """The rate points of a tensor by ascending bytes, without those that cost more and lose more than another; in a
    nested file all of them. A band is of the trellis."""
    whole = storage.dense(tensor, 16)
    dense = Choice(whole, sensitivity * DENSE_ERROR, sensitivity * DENSE_ERROR, whole.n_bytes)
    if tensor.role not in storage.CODED_ROLES or tensor.grouped is not None:
        return (replace(dense, kl=0.0, first_kl=0.0),)
    wide = tensor.role in ("embedding", "head")
    points = (NESTED_WIDE_POINTS if wide else NESTED_POINTS) if nested else RATE_POINTS
    found = [choice for planes in points if (choice := _choice(tensor, planes, sensitivity, nested)) is not None]
    if not is_band(tensor.name):
        found.append(dense)
    found.sort(key=lambda choice: (choice.file_bytes, choice.kl))
    if nested:
        return tuple(found)
    kept: list[Choice] = []
    for choice in found:
        if not kept or choice.kl < kept[-1].kl:
            kept.append(choice)
    return tuple(kept)


def _choice(tensor: TensorPlan, planes: tuple[int, ...], sensitivity: float, nested: bool) -> Choice | None:
    stored, first = storage.in_planes(tensor, planes), storage.in_planes(tensor, planes[:1])
    if stored is None or first is None:
        return None
    errors = {**GAUSSIAN_ERROR, **NESTED_ERROR} if nested else GAUSSIAN_ERROR
    kl = sensitivity * errors[planes] * STEEP.get(planes, 1.0)
    return Choice(stored, kl, sensitivity * GAUSSIAN_ERROR[planes[:1]] * STEEP.get(planes[:1], 1.0), first.n_bytes)


def decide(
    tensors: Sequence[TensorPlan], sensitivities: Mapping[str, float] | None, budget: int, nested: bool = False
) -> tuple[Decision, ...]:
    """The choice for every tensor whose data together take at most `budget` bytes, least in expected KL; of a nested
    file see _split().

    sensitivities: of every tensor that may be coded, or None for tendencies. Raises PackError where the budget is too
    small; the caller knows in which words.
    """
    values = [tendency(tensor) if sensitivities is None else sensitivities.get(tensor.name, 0.0) for tensor in tensors]
    choices = [choices_of(tensor, value, nested) for tensor, value in zip(tensors, values, strict=True)]
    if nested:
        plain = [choices_of(tensor, value) for tensor, value in zip(tensors, values, strict=True)]
        chosen = _split(choices, _loss(plain, solve(_costs(plain), budget)), budget)
    else:
        chosen = solve(_costs(choices), budget)
    return tuple(
        Decision(tensor, row, index, value if len(row) > 1 else 0.0)
        for tensor, row, index, value in zip(tensors, choices, chosen, values, strict=True)
    )


def _costs(choices: Sequence[Sequence[Choice]]) -> list[list[tuple[int, float]]]:
    return [[(choice.file_bytes, choice.kl) for choice in row] for row in choices]


def _loss(choices: Sequence[Sequence[Choice]], chosen: Sequence[int]) -> float:
    return sum(row[index].kl for row, index in zip(choices, chosen, strict=True))


def _split(choices: Sequence[Sequence[Choice]], plain: float, budget: int) -> list[int]:
    """Of a nested file: which matrices are split, and where, so that a device in need reads little. All planes together
    may lose NESTED_LOSS times `plain`, the expected KL of a file of the same size that is not nested.

    A matrix is read by its first plane where that saves more bytes than the loss is worth: a seventh of the file is
    worth NEED times `plain`, which is about what the mode `emergency` may lose. What is read then, priced so, is added
    to the loss of all planes; its weight is the largest that keeps the bound.
    """
    price = NEED * plain / (budget / 7)
    needed = [
        [min(price * choice.file_bytes, price * choice.first_bytes + choice.first_kl - choice.kl) for choice in row]
        for row in choices
    ]

    def solved(weight: float, cells: int | None = None) -> list[int]:
        rows = zip(choices, needed, strict=True)
        costs = [[(c.file_bytes, c.kl + weight * more) for c, more in zip(*row, strict=True)] for row in rows]
        return solve(costs, budget, cells)

    low, high = -8.0, 4.0  # of the logarithm to base 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _loss(choices, solved(2.0**middle, _FEW_CELLS)) <= NESTED_LOSS * plain:
            low = middle
        else:
            high = middle
    return solved(2.0**low)


def decide_for_file(
    plan: ModelPlan,
    bits: float,
    nested: bool,
    sensitivities: Mapping[str, float] | None,
    file_bytes: Callable[[Sequence[Storage]], int],
) -> tuple[Decision, ...]:
    """As decide(), for a file that takes at most `bits` per weight of the source, tokenizer and index counted.

    file_bytes: of the file that tensors stored in a certain way make. Raises PackError, with the bits that are needed,
    where so few are not possible.
    """
    data_bytes, other_bytes = least_bytes(plan, nested, file_bytes)
    budget = int(bits * plan.parameters / 8) - other_bytes
    if budget < data_bytes:
        needed = data_bytes + other_bytes + writer.ALIGNMENT  # the number itself is written into the index
        possible = math.ceil(100 * 8 * needed / plan.parameters) / 100
        raise PackError(
            f"--bits {bits:g} is too small for this model: with {other_bytes:,} bytes of tokenizer and index "
            f"it needs --bits {possible:g} at least"
        )
    return decide(plan.tensors, sensitivities, budget, nested)


def least_bytes(plan: ModelPlan, nested: bool, file_bytes: Callable[[Sequence[Storage]], int]) -> tuple[int, int]:
    """Of the data of all tensors at their smallest rates, and of all else, at most, that a file with them holds."""
    least = [choices_of(tensor, 1.0, nested)[0] for tensor in plan.tensors]
    data_bytes = sum(choice.file_bytes for choice in least)
    # The index grows with the planes: 4 bytes for a second one, 36 for each table, and the padding behind it.
    index_bytes = 4 * len(least) + 36 * len(trellis.CODEBOOKS) + writer.ALIGNMENT
    return data_bytes, file_bytes([choice.storage for choice in least]) - data_bytes + index_bytes


def solve(choices: Sequence[Sequence[tuple[int, float]]], budget: int, most_cells: int | None = None) -> list[int]:
    """One choice (bytes, loss) of every row: the least sum of losses whose bytes do not exceed the budget.

    By dynamic programming over what is left of the budget above the smallest choices, in units of the greatest common
    divisor of all differences: exact. Where that makes more than most_cells units (None: MAX_CELLS), they are larger
    and each choice is rounded up to them, so that the budget is never exceeded. Ties go to the choice that comes first.
    Raises PackError where even the smallest choices are too large.
    """
    least = [min(n_bytes for n_bytes, _ in row) for row in choices]
    room = budget - sum(least)
    if room < 0:
        raise PackError(f"the tensors need {sum(least)} bytes at least, {budget} are left for them; give more --bits")
    extra = [[n_bytes - low for n_bytes, _ in row] for row, low in zip(choices, least, strict=True)]
    room = min(room, sum(map(max, extra)))
    unit = math.gcd(*(value for row in extra for value in row)) or 1
    most_cells = min(most_cells or MAX_CELLS, MAX_TABLE // max(len(choices), 1))
    unit *= -(-room // (unit * most_cells)) or 1
    cells = room // unit + 1
    best: npt.NDArray[np.float64] = np.zeros(cells)  # least loss of the rows so far with at most so many units
    taken = np.zeros((len(choices), cells), np.uint8)
    for row, (costs, options) in enumerate(zip(extra, choices, strict=True)):
        total = np.full(cells, np.inf)
        for index, (cost, (_, loss)) in enumerate(zip(costs, options, strict=True)):
            units = -(-cost // unit)
            if units >= cells:
                continue
            candidate = best[: cells - units] + loss
            better = candidate < total[units:]
            total[units:][better] = candidate[better]
            taken[row, units:][better] = index
        best = total
    at = cells - 1
    chosen: list[int] = []
    for row in range(len(choices) - 1, -1, -1):
        index = int(taken[row, at])
        chosen.append(index)
        at -= -(-extra[row][index] // unit)
    return chosen[::-1]
