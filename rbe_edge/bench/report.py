"""The results of a benchmark as a table, JSON, JSON Lines or CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rbe_edge.bench.machine import Machine
from rbe_edge.bench.workloads import Latency, Rate, Workload


@dataclass(frozen=True)
class Row:
    """One workload of one program. program: "rbe" or "llama.cpp". model: file and kind of weights. kernels: in use.
    bytes_per_token: of the file and the KV cache that one generated token reads, None for prompts. of_bandwidth: those
    bytes times the rate, relative to what the machine reads. ratio: rbe / this program, median over alternating runs.
    first_token_ms: from a prompt to the logits after it."""

    program: str
    model: str
    kernels: str
    workload: Workload
    threads: int
    rate: Rate
    latency: Latency | None = None
    first_token_ms: float | None = None
    bytes_per_token: int | None = None
    of_bandwidth: float | None = None
    ratio: float | None = None

    def flat(self) -> dict[str, object]:
        """One level of keys, for CSV and JSON Lines."""
        return {
            "program": self.program, "model": self.model, "kernels": self.kernels, "workload": str(self.workload),
            "threads": self.threads, "tokens_per_s": self.rate.mean, "tokens_per_s_median": self.rate.median,
            "deviation": self.rate.deviation, "repetitions": len(self.rate.runs),
            "p50_ms": self.latency and self.latency.p50, "p95_ms": self.latency and self.latency.p95,
            "p99_ms": self.latency and self.latency.p99, "first_token_ms": self.first_token_ms,
            "bytes_per_token": self.bytes_per_token, "of_bandwidth": self.of_bandwidth, "ratio": self.ratio,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Everything one call measured. peak_bytes: of this process, Python included."""

    machine: Machine
    rows: tuple[Row, ...]
    peak_bytes: int
    open_ms: float
    profile: tuple[tuple[str, int, float], ...] = ()  # operation, calls, milliseconds


def as_json(report: Report) -> str:
    head = dataclasses.asdict(report.machine)
    profile = [{"operation": name, "calls": calls, "ms": spent} for name, calls, spent in report.profile]
    known = {
        "machine": head, "peak_bytes": report.peak_bytes, "open_ms": report.open_ms,
        "results": [{**row.flat(), "runs": row.rate.runs} for row in report.rows],
    }  # fmt: skip
    return json.dumps(known | ({"profile": profile} if profile else {}))


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
    return "\n".join(lines + (["", *_profile(report.profile)] if report.profile else []))


def _profile(profile: Sequence[tuple[str, int, float]]) -> list[str]:
    total = sum(spent for _, _, spent in profile) or 1.0
    width = max(len(name) for name, _, _ in profile)
    return [f"{name:{width}} {calls:8} calls {ms:10.2f} ms {100 * ms / total:5.1f} %" for name, calls, ms in profile]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cells(row: Row) -> list[str]:
    times = row.latency
    return [
        row.program, row.model, row.kernels, str(row.workload), str(row.threads),
        f"{row.rate.mean:.1f} ± {row.rate.deviation:.1f}",
        f"{times.p50:.2f} / {times.p95:.2f} / {times.p99:.2f}" if times else "",
        f"{100 * row.of_bandwidth:.0f} %" if row.of_bandwidth is not None else "",
        f"{row.ratio:.2f}" if row.ratio is not None else "",
    ]  # fmt: skip
