"""How the time of a token grows with the context: measured, and what reading its part of the KV cache would take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rbe_edge.bench.row import Row


@dataclass(frozen=True)
class Slope:
    """Between two contexts of one program, model and number of threads. from_tokens, to_tokens: in the context on
    average while generating. us_per_1k_tokens: of the median time of a token. kv_bytes_per_1k_tokens: of the cache;
    read_us_per_1k_tokens: those at read_gb_per_s. None where nothing is known of the cache (llama.cpp)."""

    program: str
    model: str
    threads: int
    kv: str
    from_tokens: float
    to_tokens: float
    us_per_1k_tokens: float
    kv_bytes_per_1k_tokens: float | None = None
    read_gb_per_s: float | None = None
    read_us_per_1k_tokens: float | None = None


def slopes(rows: Sequence[Row]) -> tuple[Slope, ...]:
    """Between each depth of plain generation and the next, for all that were measured at several."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.latency is not None and row.speculation is None:
            groups[row.program, row.model, row.threads].append(row)
    found = []
    for group in groups.values():
        group.sort(key=lambda row: row.workload.mean_context)
        found += [_between(low, high) for low, high in pairwise(group) if low.workload.depth < high.workload.depth]
    return tuple(found)


def _between(low: Row, high: Row) -> Slope:
    assert low.latency is not None and high.latency is not None
    contexts = low.workload.mean_context, high.workload.mean_context
    thousands = (contexts[1] - contexts[0]) / 1000
    measured = 1e3 * (high.latency.p50 - low.latency.p50) / thousands
    slope = (low.program, low.model, low.threads, low.kv, *contexts, measured)
    if low.bytes_per_token is None or high.bytes_per_token is None or low.read_gb_per_s is None:
        return Slope(*slope)
    kv_bytes = (high.bytes_per_token - low.bytes_per_token) / thousands
    return Slope(*slope, kv_bytes, low.read_gb_per_s, kv_bytes / low.read_gb_per_s / 1e3)
