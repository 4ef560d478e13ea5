"""Rotary position frequencies, fixed at packing, so that the runtime needs no formula: angle = position x frequency.

The formulas are those of the papers, with the conventions of transformers' modeling_rope_utils (the reference that
checkpoints are published against): linear (position interpolation, arXiv 2306.15595), dynamic (NTK-aware, dynamic),
llama3 (Llama 3.1's release), yarn (arXiv 2309.00071) and longrope (arXiv 2402.13753).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown

DoubleArray = npt.NDArray[np.float64]

SCALINGS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional")


@dataclass(frozen=True)
class RopeTable:
    """Frequencies of the rotated pairs, double[pairs], and the factor on cosines and sines.

    Where `long_from` is not 0, a context above so many tokens uses `long_frequencies` instead.
    """

    frequencies: DoubleArray
    attention_factor: float = 1.0
    long_frequencies: DoubleArray | None = None
    long_from: int = 0


def rope_table(parameters: Config, head_dim: int, context: int) -> RopeTable:
    """The table for one set of rope parameters in the new form (rope_type, rope_theta, factor, ...).

    `context` is max_position_embeddings. Raises PackError for an unknown rope type, a missing parameter, or numbers
    that no frequency comes of.
    """
    try:
        with np.errstate(all="ignore"):
            table = _table(parameters, head_dim, context)
    except (ArithmeticError, ValueError):  # of a number far beyond those of any model
        table = None
    values = [] if table is None else [table.frequencies, table.long_frequencies, table.attention_factor]
    if table is None or not all(np.isfinite(value).all() for value in values if value is not None):
        raise PackError(
            f"{parameters.where}: the rope parameters give frequencies that are not finite; correct the file"
        )
    return table


def _table(parameters: Config, head_dim: int, context: int) -> RopeTable:
    kind = parameters.text("rope_type", parameters.values.get("type") or "default")
    if kind not in SCALINGS:
        raise PackError(
            f"{parameters.where}: rope type {shown(kind)} is not supported (supported: {', '.join(SCALINGS)})"
        )
    if kind == "proportional":
        return _proportional(parameters, head_dim)
    partial = parameters.positive("partial_rotary_factor", 1.0)
    rotated = int(head_dim * min(partial, 1.0))
    if partial > 1 or rotated < 2 or rotated % 2:
        raise PackError(
            f"{parameters.where}: partial_rotary_factor {partial} of {head_dim} head dimensions gives no even number"
        )
    theta = parameters.positive("rope_theta", 10000.0)
    if theta <= 1:
        raise PackError(f"{parameters.where}: rope_theta is {theta}, expected a number above 1; correct the file")
    periods = theta ** (np.arange(0, rotated, 2, dtype=np.float64) / rotated)
    if kind == "linear":
        return RopeTable(1.0 / (periods * parameters.positive("factor")))
    if kind == "llama3":
        return _llama3(parameters, periods, context)
    if kind == "yarn":
        return _yarn(parameters, periods, theta, context)
    if kind == "longrope":
        return _longrope(parameters, periods, context)
    # "dynamic" stretches theta with the length of the text beyond `context` and is the default up to there. A packed
    # model has no longer context, so for it both are the same.
    return RopeTable(1.0 / periods)


def _proportional(parameters: Config, head_dim: int) -> RopeTable:
    """Frequencies as of whole heads, of which the first part of the pairs turns."""
    partial = parameters.positive("partial_rotary_factor", 1.0)
    theta = parameters.positive("rope_theta", 10000.0)
    if partial > 1 or theta <= 1 or head_dim % 2:
        raise PackError(
            f"{parameters.where}: partial_rotary_factor {partial} and rope_theta {theta} of {head_dim} head dimensions "
            f"give no frequencies; correct the file"
        )
    turning = int(partial * head_dim // 2)
    frequencies = np.zeros(head_dim // 2)
    periods = theta ** (np.arange(0, 2 * turning, 2, dtype=np.float64) / head_dim)
    frequencies[:turning] = 1.0 / (periods * parameters.positive("factor", 1.0))
    return RopeTable(frequencies)


def _original_context(parameters: Config, context: int) -> int:
    original = parameters.integer("original_max_position_embeddings", context)
    if original < 2:
        raise PackError(f"{parameters.where}: original_max_position_embeddings is {original}; correct the file")
    return original


def _llama3(parameters: Config, periods: DoubleArray, context: int) -> RopeTable:
    """Long waves are divided by the factor, short ones kept, those between interpolated."""
    factor = parameters.positive("factor")
    low, high = parameters.positive("low_freq_factor"), parameters.positive("high_freq_factor")
    original = _original_context(parameters, context)
    frequencies = 1.0 / periods
    waves = 2 * math.pi * periods
    if high == low:
        raise PackError(f"{parameters.where}: low_freq_factor and high_freq_factor are equal; correct the file")
    smooth = (original / waves - low) / (high - low)
    between = (1 - smooth) * frequencies / factor + smooth * frequencies
    scaled = np.where(waves > original / low, frequencies / factor, between)
    return RopeTable(np.where(waves < original / high, frequencies, scaled))


def _yarn(parameters: Config, periods: DoubleArray, theta: float, context: int) -> RopeTable:
    """Dimensions that turn often are kept, those that hardly turn are interpolated, a ramp between."""
    original = _original_context(parameters, context)
    factor = parameters.positive("factor", context / original)
    rotated = 2 * len(periods)

    def dimension(turns: float) -> float:
        return rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = dimension(parameters.positive("beta_fast", 32))
    high = dimension(parameters.positive("beta_slow", 1))
    if parameters.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(len(periods)) - low) / (high - low), 0, 1)
    frequencies = ramp / (factor * periods) + (1 - ramp) / periods

    def attention(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    by_default = attention(1.0)
    if parameters.values.get("mscale") and parameters.values.get("mscale_all_dim"):
        by_default = attention(parameters.number("mscale")) / attention(parameters.number("mscale_all_dim"))
    return RopeTable(frequencies, parameters.positive("attention_factor", by_default))


def _longrope(parameters: Config, periods: DoubleArray, context: int) -> RopeTable:
    """Two searched sets of factors: one up to the original context, one for longer contexts."""
    original = _original_context(parameters, context)
    factor = parameters.positive("factor", context / original)
    by_default = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    short = np.array(parameters.numbers("short_factor", len(periods)))
    long = np.array(parameters.numbers("long_factor", len(periods)))
    attention = parameters.positive("attention_factor", by_default)
    if original >= context:
        return RopeTable(1.0 / (short * periods), attention)
    return RopeTable(1.0 / (short * periods), attention, 1.0 / (long * periods), original)
