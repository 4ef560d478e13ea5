"""At how many bits per weight a file of ours loses as little as one of llama.cpp's types: for `rbe pack --like`.

likeness.json holds what was measured on real models: our files and llama.cpp's, each as bits per weight of the whole
file and KL divergence from the source in its engine (`rbe compare`; tools/like_table.py writes it). Between two files
of ours KL is interpolated in its logarithm; beyond them it follows the squared error of the code, as docs/codec.md,
"Deciding bits per tensor", has measured. Of several models the one that needs the most bits decides.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rbe_edge.errors import OptionError
from rbe_edge.packing.allocation import GAUSSIAN_ERROR, RATE_POINTS

LEAST_BITS, MOST_BITS = 2.0, 8.0
TABLE = Path(__file__).with_name("likeness.json")

Point = tuple[float, float]
"""Bits per weight of a file, and its KL."""


@dataclass(frozen=True)
class Likeness:
    """bits: per weight of our file. theirs: of llama.cpp's on that model. model, date: where and when that was
    measured."""

    bits: float
    theirs: float
    model: str
    date: str


def like(name: str) -> Likeness:
    """The size of our files that loses what a type does, its name in any case. Raises OptionError for a type that was
    not measured, with the smallest and the largest."""
    known = known_types()
    found = known.get(name.upper())
    if found is None:
        ordered = sorted(known, key=lambda kind: known[kind].bits)
        listed = ", ".join(f"{kind} ({known[kind].bits:.2f})" for kind in ordered)
        raise OptionError(
            f"--like {name[:40]}: no such type was measured; there are, by bits per weight of ours, {listed}"
        )
    return found


@cache
def known_types() -> dict[str, Likeness]:
    """By type, of the model that needs the most bits."""
    found: dict[str, Likeness] = {}
    for entry in json.loads(TABLE.read_text(encoding="utf-8"))["measured"]:
        for name, likeness in of_model(entry).items():
            if name not in found or likeness.bits > found[name].bits:
                found[name] = likeness
    return found


def of_model(entry: dict[str, Any]) -> dict[str, Likeness]:
    """By type, of one entry of the table."""
    ours = sorted((float(bits), float(kl)) for bits, kl in entry["rbe"])
    return {
        name: Likeness(bits_at(ours, float(kl)), float(bits), entry["model"], entry["date"])
        for name, (bits, kl) in entry["types"].items()
    }


def bits_at(ours: Sequence[Point], kl: float) -> float:
    """The bits at which a line through files of ours, sorted, has a KL, rounded up to a hundredth, 2 to 8."""
    (first, first_kl), (last, last_kl) = ours[0], ours[-1]
    if kl >= first_kl:
        bits = _by_law(first, first_kl, kl)
    elif kl <= last_kl:
        bits = _by_law(last, last_kl, kl)
    else:
        bits = last
        for (low, low_kl), (high, high_kl) in itertools.pairwise(ours):
            if high_kl <= kl <= low_kl:
                share = math.log(low_kl / kl) / math.log(low_kl / high_kl) if low_kl > high_kl else 0.0
                bits = low + share * (high - low)
                break
    return min(MOST_BITS, max(LEAST_BITS, math.ceil(100 * bits - 1e-6) / 100))


def _by_law(bits: float, kl: float, wanted: float) -> float:
    """Where KL, from a file that was measured, gets to what is wanted if it goes as the squared error does."""
    target = _log_error(bits) + math.log(wanted / kl)
    low, high = 1.0, MOST_BITS
    for _ in range(50):  # the error falls with the bits
        middle = (low + high) / 2
        low, high = (middle, high) if _log_error(middle) > target else (low, middle)
    return (low + high) / 2


def _log_error(bits: float) -> float:
    """Of the squared error of the code, between whole numbers of bits linear in the logarithm."""
    points = [(float(sum(planes)), math.log(GAUSSIAN_ERROR[planes])) for planes in RATE_POINTS]
    at = min(max(int(bits) - 1, 0), len(points) - 2)
    (low, low_error), (high, high_error) = points[at], points[at + 1]
    return low_error + (bits - low) / (high - low) * (high_error - low_error)
