"""Whether a model from the hub has room here: on the disk while it is packed, in memory when it runs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.files.user_cache import cache_directory
from rbe_edge.runtime import fit
from rbe_edge.runtime.fit import Advice
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.sources.hub import Offer, existing
from rbe_edge.terminal_text import size

_CALIBRATION_BYTES_PER_WEIGHT = 11  # packing keeps weights, states and statistics in fp32 (packing/curvature.py)


@dataclass(frozen=True)
class Need:
    """where: for people. needed, free: in bytes."""

    where: str
    needed: int
    free: int

    @property
    def met(self) -> bool:
        return self.needed <= self.free

    def __str__(self) -> str:
        verdict = "" if self.met else "  TOO LITTLE"
        return f"{self.where}: needs {size(self.needed)}, {size(self.free)} free{verdict}"


@dataclass(frozen=True)
class Plan:
    """What a model of the hub will take when it is packed. memory: at full speed. advice: what makes it fit into the
    memory that is free; None where that is unknown."""

    file_bytes: int
    memory: int
    advice: Advice | None


def plan_of(repository: str, bits: float, session: SessionOptions, free_memory: int | None) -> Plan:
    """By the estimate of rbe/fit.h, of what packing makes of it. Downloads the tokenizer and the headers of the
    weights. Raises PackError, MissingExtra, ModelError where the session's options are none for this model."""
    from rbe_edge.packing.outline import outline_of  # NumPy takes a while

    wish = fit.Wish(session)
    with outline_of(repository, bits) as out:
        found = fit.estimate(out, wish)
        advice = None if free_memory is None else fit.advise(out, free_memory, wish)
    return Plan(found.file_bytes, found.total, advice)


def needs(offer: Offer, plan: Plan, *, cache: Path, output: Path, cached_bytes: int) -> list[Need]:
    """What is needed of each disk. cached_bytes: what of the download is there already. Directories that are on one
    disk share its free space; they need not exist."""
    wanted = (
        (cache, max(0, offer.download_bytes - cached_bytes)),
        (output, plan.file_bytes),
        (cache_directory(), offer.parameters * _CALIBRATION_BYTES_PER_WEIGHT + plan.file_bytes),
    )
    disks: dict[int, tuple[Path, int]] = {}
    for directory, n_bytes in wanted:
        place = existing(directory)
        device = os.stat(place).st_dev
        first, sum_bytes = disks.get(device, (place, 0))
        disks[device] = (first, sum_bytes + n_bytes)
    return [Need(f"disk of {place}", n_bytes, shutil.disk_usage(place).free) for place, n_bytes in disks.values()]


def what_helps(advice: Advice) -> str:
    """What a person can change where memory is short."""
    bits = advice.bits or advice.bits_instead
    ways = [f"{bits:g} bits per weight"] if bits else []
    if advice.context and not advice.max_memory and not advice.bits:
        ways.append(f"a context of {advice.context} tokens (F2)")
    return f"It has room with {' or '.join(ways)}." if ways else "Choose a smaller model."
