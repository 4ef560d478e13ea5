"""Statistics of experts: few tokens of a calibration text reach each, so what is known of one is mixed with what is
known of all experts of its layer (docs/codec.md, "Experts").

An expert with n tokens and a matrix of c columns counts as if c / 4 more tokens had reached it, which read what those
of the others do on average. An expert that no token has reached has the statistics of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.format.experts import is_of_expert

FloatArray = npt.NDArray[np.float32]

_EXPERT = re.compile(r"experts\.(\d+)\.(gate|up|down)$")


def prior_tokens(cols: int) -> float:
    """Of all experts together, as many as count for each."""
    return cols / 4


def point_of(part: str) -> int | None:
    """Where the engine shows what a matrix of an expert reads; part: 'experts.3.gate'. None for another matrix."""
    found = _EXPERT.match(part)
    if found is None:
        return None
    first = _native.CAPTURE_EXPERT_DOWN if found[2] == "down" else _native.CAPTURE_EXPERT_INPUT
    return first + int(found[1])


def mixed(moment: FloatArray, n_tokens: int, of_all: FloatArray) -> FloatArray:
    """The mean of x x^T of an expert. moment: the sum over its n_tokens, which is used up; of_all: the mean over the
    tokens of all experts."""
    prior = prior_tokens(len(moment))
    moment += np.float32(prior) * of_all
    moment /= np.float32(n_tokens + prior)
    return moment


def mix_curvatures(sums: dict[str, FloatArray], counts: Mapping[str, int], names: Iterable[str]) -> None:
    """In place, of the experts of one layer: sums over tokens by matrix, and how many tokens each had. names: of all
    matrices of the layer; those that no token has reached get a sum too, that of one token.

    What is left keeps the size of the expert's own tokens: one that is used little costs little.
    """
    by_part: dict[str, list[str]] = {}
    for name in names:
        if is_of_expert(name):
            by_part.setdefault(name.rsplit(".", 1)[1], []).append(name)
    for members in by_part.values():
        seen = [name for name in members if name in sums]
        if not seen:
            continue
        of_all = np.zeros_like(sums[seen[0]])
        for name in seen:
            of_all += sums[name]
        of_all /= np.float32(sum(counts[name] for name in seen))
        for name in members:
            n = counts.get(name, 0)
            own = sums[name] if name in sums else np.zeros_like(of_all)
            sums[name] = mixed(own, n, of_all) * np.float32(n + 1)
