"""Whether a model has room on a device: in its memory by the engine's own estimate (rbe/fit.h), and on its disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.deployment.device import Device
from rbe_edge.errors import DeployError
from rbe_edge.runtime.fit import Wish, advise, estimate
from rbe_edge.runtime.options import KvType, SessionOptions
from rbe_edge.terminal_text import size

FEWEST_BITS, MOST_BITS = 2.0, 8.0  # of `rbe pack --bits`
_SPARE_DISK = 8 << 20  # stays free: a full disk stops more than us


@dataclass(frozen=True)
class Settings:
    """How the model is to run there. context: tokens, 0: its own, at most 4096. kv: type of the KV cache. max_memory:
    bytes of the file in memory at a time, 0: all of it."""

    context: int = 0
    kv: KvType = "auto"
    max_memory: int = 0

    def flags(self) -> list[str]:
        """As `rbe run` takes them."""
        return [
            *(["-c", str(self.context)] if self.context else []),
            *(["--kv", self.kv] if self.kv != "auto" else []),
            *(["--max-memory", str(self.max_memory)] if self.max_memory else []),
        ]

    @property
    def wish(self) -> Wish:
        """For the engine's estimate."""
        return Wish(SessionOptions(context=self.context, kv=self.kv), max_memory=self.max_memory)


@dataclass(frozen=True)
class Needs:
    """In bytes. weights: of the file. memory: with all weights in it, where Settings.max_memory does not say less.
    context: tokens of the session."""

    weights: int
    memory: int
    context: int
    bits_per_weight: float


def needs(model: Path, settings: Settings) -> Needs:
    """What the model takes. Raises ModelError, OptionError where the context or max_memory cannot be."""
    fit = estimate(model, settings.wish)
    return Needs(
        weights=fit.weights_resident + fit.weights_on_disk,
        memory=fit.needed if settings.max_memory else fit.total,
        context=fit.context,
        bits_per_weight=fit.bits_per_weight,
    )


def bits_that_fit(needed: Needs, weights: int) -> float | None:
    """The most bits per weight, in tenths, with which the weights take so many bytes of a disk; None where 2 are too
    many."""
    if weights <= 0 or needed.weights <= 0:
        return None
    bits = math.floor(10 * needed.bits_per_weight * weights / needed.weights) / 10
    return min(bits, MOST_BITS) if bits >= FEWEST_BITS else None


def _ways(bits: float | None, flags: str = "") -> str:
    """What to do: what flags do, and fewer bits."""
    pack = f"pack it again with --bits {bits:g}" if bits is not None else ""
    ways = " or ".join(way for way in (flags, pack) if way)
    return ways or "no --bits makes it small enough: take a smaller model"


def _what_fits(model: Path, settings: Settings, available: int) -> str:
    """The engine's advice for so much memory, in words."""
    advice = advise(model, available, settings.wish)
    if advice.bits >= FEWEST_BITS:  # which are not enough by themselves
        return f"pack it again, and give in all: {advice.flags}"
    flags = f"give {advice.flags}" if advice.flags and not advice.bits else ""
    bits = advice.bits_instead if FEWEST_BITS <= advice.bits_instead <= MOST_BITS else None
    return _ways(bits, f"{flags} (slower)" if flags and advice.max_memory else flags)


def check_memory(device: Device, model: Path, settings: Settings, needed: Needs) -> None:
    """Raises DeployError, with the numbers and the bits that would fit, where the device's free memory is too small."""
    available = device.available_bytes
    if available is None or needed.memory <= available:
        return
    raise DeployError(
        f"{device.name}: {model.name} takes {size(needed.memory)} of memory with a context of {needed.context} tokens, "
        f"and {size(available)} are free there; {_what_fits(model, settings, available)}"
    )


def check_disk(device: Device, model: Path, needed: Needs, missing: int) -> None:
    """missing: bytes that are to be copied. Raises DeployError where they have no room."""
    free = device.free_bytes
    if free is None or missing + _SPARE_DISK <= free:
        return
    bits = bits_that_fit(needed, free - _SPARE_DISK - (missing - needed.weights))
    raise DeployError(
        f"{device.name}: {size(missing)} are to be copied, and {device.directory} has {size(free)} of disk free, of "
        f"which {size(_SPARE_DISK)} stay; make room, give another directory, or: {_ways(bits)} ({model.name} has "
        f"{needed.bits_per_weight:.1f})"
    )


def check_directory(device: Device) -> None:
    """Raises DeployError where nothing can be written into the directory, or no program run from it."""
    if device.refused:
        where = device.there or device.directory
        raise DeployError(
            f"{device.name}: {where} cannot be written ({device.refused}); give another directory, as in "
            f"{device.name}:/path"
        )
    if not device.runs:
        raise DeployError(
            f"{device.name}: programs may not run in {device.there} (mounted noexec); give another directory, as in "
            f"{device.name}:/path"
        )
