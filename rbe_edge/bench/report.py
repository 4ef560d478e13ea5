"""The results of a benchmark as a table, JSON, JSON Lines or CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rbe_edge.bench.row import Row
from rbe_edge.bench.slope import Slope
from rbe_edge.machine.hardware import Machine


@dataclass(frozen=True)
class Report:
    """Everything one call measured. peak_bytes: of this process, Python included. slopes: where generation was
    measured at several depths."""

    machine: Machine
    rows: tuple[Row, ...]
    peak_bytes: int
    open_ms: float
    profile: tuple[tuple[str, int, float], ...] = ()  # operation, calls, milliseconds
    slopes: tuple[Slope, ...] = ()


def as_json(report: Report) -> str:
    head = dataclasses.asdict(report.machine)
    profile = [{"operation": name, "calls": calls, "ms": spent} for name, calls, spent in report.profile]
    known = {
        "machine": head, "peak_bytes": report.peak_bytes, "open_ms": report.open_ms,
        "results": [{**row.flat(), "runs": row.rate.runs} for row in report.rows],
    }  # fmt: skip
    slopes = [dataclasses.asdict(slope) for slope in report.slopes]
    return json.dumps(known | ({"slopes": slopes} if slopes else {}) | ({"profile": profile} if profile else {}))


def as_json_lines(report: Report) -> str:
    head = dataclasses.asdict(report.machine)
    return "\n".join(json.dumps({**head, **row.flat()}) for row in report.rows)


def as_csv(report: Report) -> str:
    out = io.StringIO()
    fields = list(report.rows[0].flat()) if report.rows else []
    table = csv.DictWriter(out, fields, lineterminator="\n")
    table.writeheader()
    table.writerows(row.flat() for row in report.rows)
    return out.getvalue().rstrip("\n")


_HEAD = (
    "program", "model", "kernels", "workload", "threads", "tokens/s", "p50 / p95 / p99 ms", "of bandwidth", "ratio",
)  # fmt: skip


def as_table(report: Report) -> str:
    """Markdown, which a terminal shows well enough."""
    machine = report.machine
    rows = [_cells(row) for row in report.rows]
    widths = [max(len(line[column]) for line in [_HEAD, *rows]) for column in range(len(_HEAD))]
    lines = [
        f"{machine.processor}, {machine.cores} cores, {machine.system}; memory {machine.read_gb_per_s:.1f} GB/s",
        f"model open in {report.open_ms:.1f} ms, peak memory {report.peak_bytes / 1e6:.1f} MB (Python included)",
        "",
        _line(_HEAD, widths),
        "|" + "|".join("-" * (width + 2) for width in widths) + "|",
        *(_line(row, widths) for row in rows),
    ]
    for part in (_guessed(report.rows), _slopes(report.slopes), _profile(report.profile)):
        lines += ["", *part] if part else []
    return "\n".join(lines)


def _guessed(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.workload}, {row.threads} threads, {guessed.method}: {guessed.speedup:.2f} times plain decoding; "
        f"{100 * guessed.acceptance:.0f} % of the guesses right, {guessed.tokens_per_check:.2f} tokens per check, "
        f"{100 * guessed.plain_share:.0f} % of the tokens by plain steps, "
        + (f"switched off {guessed.pauses:.1f} times a run" if guessed.pauses else "never switched off")
        for row in rows
        if (guessed := row.speculation) is not None
    ]


def _slopes(slopes: Sequence[Slope]) -> list[str]:
    return [
        f"{slope.program}, {slope.model}, {slope.threads} threads, {slope.kv}, context {slope.from_tokens:.0f} to "
        f"{slope.to_tokens:.0f}: {slope.us_per_1k_tokens:.1f} us per 1000 tokens"
        + (
            f"; reading their {slope.kv_bytes_per_1k_tokens / 1e6:.1f} MB at {slope.read_gb_per_s:.1f} GB/s takes "
            f"{slope.read_us_per_1k_tokens:.1f} us"
            if slope.kv_bytes_per_1k_tokens is not None
            else ""
        )
        for slope in slopes
    ]


def _profile(profile: Sequence[tuple[str, int, float]]) -> list[str]:
    total = sum(spent for _, _, spent in profile) or 1.0
    width = max((len(name) for name, _, _ in profile), default=0)
    return [f"{name:{width}} {calls:8} calls {ms:10.2f} ms {100 * ms / total:5.1f} %" for name, calls, ms in profile]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cells(row: Row) -> list[str]:
    times = row.latency
    what = f"{row.workload}" if row.speculation is None else f"{row.workload}, {row.speculation.method}"
    return [
        row.program, row.model, row.kernels, what, str(row.threads),
        f"{row.rate.mean:.1f} ± {row.rate.deviation:.1f}",
        f"{times.p50:.2f} / {times.p95:.2f} / {times.p99:.2f}" if times else "",
        f"{100 * row.of_bandwidth:.0f} %" if row.of_bandwidth is not None else "",
        f"{row.ratio:.2f}" if row.ratio is not None else "",
    ]  # fmt: skip
