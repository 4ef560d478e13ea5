"""Whether a model from the hub has room here: on the disk while it is packed, in memory when it runs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.sources.hub import Offer, existing
from rbe_edge.terminal_text import size

_CALIBRATION_BYTES_PER_WEIGHT = 4  # packing/pack.py keeps the weights in fp32 beside the output
_SESSION_BYTES = 64 << 20  # KV cache and scratch of a small model, roughly
_SPARE = 1.05


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


def needs(offer: Offer, bits: float, *, cache: Path, output: Path, cached_bytes: int, free_memory: int) -> list[Need]:
    """What is needed of each disk and of memory. cached_bytes: what of the download is there already. Directories that
    are on one disk share its free space; they need not exist."""
    packed = int(offer.parameters * bits / 8 * _SPARE)
    wanted = (
        (cache, max(0, offer.download_bytes - cached_bytes)),
        (output, offer.parameters * _CALIBRATION_BYTES_PER_WEIGHT + packed),
    )
    disks: dict[int, tuple[Path, int]] = {}
    for directory, n_bytes in wanted:
        place = existing(directory)
        device = os.stat(place).st_dev
        first, sum_bytes = disks.get(device, (place, 0))
        disks[device] = (first, sum_bytes + n_bytes)
    found = [Need(f"disk of {place}", n_bytes, shutil.disk_usage(place).free) for place, n_bytes in disks.values()]
    return [*found, Need("memory to run it", packed + _SESSION_BYTES, free_memory)]
