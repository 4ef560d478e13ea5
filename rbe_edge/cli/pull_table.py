"""What a model of the list would take on this machine, and how fast it may be: the estimates behind `rbe pull`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rbe_edge.bench.shapes import Shape, write_model, write_outline
from rbe_edge.errors import RbeError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.machine import hardware
from rbe_edge.models.curated import Offer
from rbe_edge.runtime import fit
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import DEFAULT_CONTEXT, SessionOptions

_BITS = 4
_TOKENS = 24
_PROBE = Shape("probe", "no model", 4, 1024, 16, 4, 64, 4096, 8192)
"""35 MiB: more than most caches hold, written in a quarter of a second."""


@dataclass(frozen=True)
class Expected:
    """memory: bytes to run it at full speed, with 4 bits per weight. tokens_per_second: at most, None where it could
    not be measured. fits: into what is free now, None where that is unknown."""

    offer: Offer
    memory: int
    tokens_per_second: float | None
    fits: bool | None


def expectations(offers: Sequence[Offer], bits: Sequence[int]) -> list[Expected]:
    """Of each. Takes a second or two, for the measurements."""
    available = fit.available().bytes
    rate = bytes_per_second()
    found = []
    for offer in offers:
        memory = memory_of(offer, _BITS)
        fits = None if available is None else memory <= available
        read = offer.file_bytes(_BITS) - (0 if offer.tied else offer.vocabulary * offer.width * _BITS // 8)
        found.append(Expected(offer, memory, None if rate is None else rate / read, fits))
    return found


def memory_of(offer: Offer, bits: int) -> int:
    """By the estimator of `rbe fit`, from an outline of the shape; the weights as many bytes as the file will have."""
    shape = Shape(
        offer.name, offer.repository, offer.layers, offer.width, offer.heads, offer.kv_heads, offer.head_dim,
        offer.feed_forward, offer.vocabulary,
    )  # fmt: skip
    with scratch_directory("pull") as directory:
        outline = directory / "outline.rbe"
        write_outline(shape, (bits,), outline)
        wish = fit.Wish(SessionOptions(context=min(offer.context, DEFAULT_CONTEXT), kv="auto"))
        found = fit.estimate(outline, wish)
    return found.total - found.weights_resident - found.weights_on_disk + offer.file_bytes(bits)


def bytes_per_second() -> float | None:
    """Bytes of weights that generating reads in a second: what memory gives, or where that is less, what the cores
    decode. None where it cannot be measured."""
    try:
        return min(1e9 * hardware.read_bandwidth(hardware.cores()), _decoded())
    except (RbeError, OSError):
        return None


def _decoded() -> float:
    """The best of some tokens of a model of random bits, by one thread or as many as a session would have: a machine
    that is busy is not taken for a slow one."""
    best = 0.0
    with scratch_directory("pull") as directory:
        path = directory / "probe.rbe"
        write_model(_PROBE, (_BITS,), path)
        with Model.open(path, verify=False) as model:
            for threads in (1, 0):
                with model.session(context=_TOKENS + 1, threads=threads) as session:
                    for _ in range(_TOKENS):
                        began = time.perf_counter()
                        session.prefill([1])
                        best = max(best, model.read_bytes() / (time.perf_counter() - began))
    return best
