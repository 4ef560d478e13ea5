"""The benchmark of power modes as JSON, CSV or Markdown; what is not known is null, empty, or "n/a"."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence

from rbe_edge.bench.joules import Joules
from rbe_edge.bench.mode_run import ModeRun, Stretch
from rbe_edge.bench.power import PowerReport
from rbe_edge.bench.power_findings import relative_rate, worse_modes
from rbe_edge.bench.sensor_log import sum_up
from rbe_edge.machine.process import peak_bytes

NA = "n/a"
_SERIES = 12  # pieces of a run whose rate and heat are listed


def flat(run: ModeRun, report: PowerReport) -> dict[str, object]:
    """One level of keys: a line of the CSV file."""
    setup, times, quality, sensed = run.setup, run.latency, run.setup.quality, sum_up(run.moments)
    promise = report.promises.get(setup.name) if setup.program == "rbe" else None
    return {
        "program": setup.program, "mode": setup.name, "threads": setup.threads, "kv": setup.kv,
        "prompt_tokens": setup.prompt_tokens, "answer_tokens": setup.answer_tokens,
        "first_token_ms": run.first_token_ms,
        "p50_ms": times and times.p50, "p95_ms": times and times.p95, "p99_ms": times and times.p99,
        "tokens_per_s": run.rate, "first_tokens_per_s": run.first_rate, "last_tokens_per_s": run.last_rate,
        "window_s": run.window_s, "tokens": run.decode.n_tokens, "seconds": run.decode.joules.seconds,
        **_energy("prefill", run.prefill, report.idle), **_energy("decode", run.decode, report.idle),
        "energy_source": run.decode.joules.source or None, "energy_covers": run.decode.joules.covers or None,
        "energy_resolution_j": run.decode.joules.resolution_j if run.decode.joules.source else None,
        "begin_c": sensed.begin_c, "end_c": sensed.end_c, "most_c": sensed.most_c,
        "mhz_least": sensed.mhz_least, "mhz_most": sensed.mhz_most, "mhz_limit": sensed.mhz_limit,
        "throttled": sensed.throttled, "throttled_by": sensed.throttled_by,
        "perplexity": quality and quality.perplexity, "kl": quality and quality.kl, "kl_why": setup.quality_why or None,
        "session_bytes": setup.session_bytes, "kv_bytes": setup.kv_bytes, "resident_bytes": run.resident_bytes,
        "bytes_per_token": setup.bytes_per_token, "relative_rate": relative_rate(run, report),
        "promised": promise and promise.promised, "given": promise and promise.given,
        "kept": promise and promise.kept, "complete": run.complete,
    }  # fmt: skip


def _energy(what: str, stretch: Stretch, idle: Joules | None) -> dict[str, object]:
    return {
        f"{what}_j_per_token": stretch.joules.per(stretch.n_tokens),
        f"{what}_net_j_per_token": stretch.joules.net_per(stretch.n_tokens, idle),
        f"{what}_joules": stretch.joules.joules,
        f"{what}_watts": stretch.joules.watts,
        f"{what}_energy_why": stretch.joules.why or None,
    }


def as_json(report: PowerReport) -> str:
    """With all samples."""
    runs = []
    for run in report.runs:
        setup = dataclasses.asdict(run.setup)
        samples = {
            "prompt_s": [round(value, 6) for value in run.prompt_s],
            "token_ms": [round(1e3 * value, 4) for value in run.token_s],
            "token_at_s": [round(value, 4) for value in run.token_at],
            "moments": [dataclasses.asdict(moment) for moment in run.moments],
        }
        stretches = {"prefill": dataclasses.asdict(run.prefill), "decode": dataclasses.asdict(run.decode)}
        runs.append({**flat(run, report), "setup": setup, **stretches, "rates": run.rates(), **samples})
    idle = None if report.idle is None else {**dataclasses.asdict(report.idle), "watts": report.idle.watts}
    promises = {name: {**dataclasses.asdict(it), "kept": it.kept} for name, it in report.promises.items()}
    return json.dumps(
        {
            "machine": dataclasses.asdict(report.machine), "model": report.model, "kernels": report.kernels,
            "file_bytes": report.file_bytes, "peak_bytes": peak_bytes(), "idle": idle, "runs": runs,
            "promises": promises, "worse": worse_modes(report), "notes": report.notes, "stopped": report.stopped,
        }
    )  # fmt: skip


def as_csv(report: PowerReport) -> str:
    out = io.StringIO()
    rows = [flat(run, report) for run in report.runs]
    table = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().rstrip("\n")


def as_markdown(report: PowerReport, *, series: bool = False) -> str:
    """series: with rate and heat over time."""
    machine = report.machine
    lines = [
        f"{report.model}: {report.file_bytes / 1e6:.1f} MB, kernels {report.kernels}",
        f"{machine.processor}, {machine.cores} cores, {machine.system}; memory {machine.read_gb_per_s:.1f} GB/s",
        "",
    ]
    for title, head, cells in (
        ("Speed", _SPEED, _speed), ("Energy", _ENERGY, _energy_cells), ("Quality and bytes", _COST, _cost),
        ("Machine", _MACHINE, _machine),
    ):  # fmt: skip
        lines += [f"**{title}**", "", *_table(head, [cells(run, report) for run in report.runs]), ""]
    lines += _remarks(report)
    if series:
        for run in report.runs:
            lines += ["", f"**{_name(run)} over time**", "", *_table(_OVER_TIME, _over_time(run))]
    return "\n".join(lines).rstrip("\n")


_SPEED = (
    "mode",
    "threads",
    "KV",
    "first token ms",
    "p50 / p95 / p99 ms",
    "tokens/s",
    "first",
    "last",
    "of performance",
)
_ENERGY = ("mode", "prefill J/token", "net of idle", "decode J/token", "net of idle", "W", "source", "covers", "step J")
_COST = (
    "mode",
    "KL",
    "perplexity",
    "MB/token",
    "bytes promise",
    "given, same threads",
    "kept",
    "session MB",
    "resident MB",
)
_MACHINE = ("mode", "begin C", "end C", "most C", "MHz least to most", "MHz limit", "throttled")
_OVER_TIME = ("seconds", "tokens/s", "C")


def _speed(run: ModeRun, report: PowerReport) -> list[str]:
    times, setup = run.latency, run.setup
    window = f" ({run.window_s:.0f} s)"
    return [
        _name(run), str(setup.threads), setup.kv, _number(run.first_token_ms, ".1f"),
        f"{times.p50:.2f} / {times.p95:.2f} / {times.p99:.2f}" if times else NA,
        _number(run.rate, ".1f"), _number(run.first_rate, ".1f") + window, _number(run.last_rate, ".1f") + window,
        _number(relative_rate(run, report), ".2f"),
    ]  # fmt: skip


def _energy_cells(run: ModeRun, report: PowerReport) -> list[str]:
    prefill, decode, idle = run.prefill, run.decode, report.idle
    source = decode.joules
    return [
        _name(run),
        *(
            _number(value, ".3g")
            for part in (prefill, decode)
            for value in (part.joules.per(part.n_tokens), part.joules.net_per(part.n_tokens, idle))
        ),
        _number(source.watts, ".2f"), source.source or NA, source.covers or NA,
        f"{source.resolution_j:.2g}" if source.source else NA,
    ]  # fmt: skip


def _cost(run: ModeRun, report: PowerReport) -> list[str]:
    setup, quality = run.setup, run.setup.quality
    promise = report.promises.get(setup.name) if setup.program == "rbe" else None
    kept = (None,) * 3 if promise is None else (promise.promised, promise.given, promise.kept)
    return [
        _name(run),
        f"{quality.kl:.4f} ± {quality.kl_error:.4f}" if quality else setup.quality_why,
        f"{quality.perplexity:.2f}" if quality else NA,
        _number(setup.bytes_per_token and setup.bytes_per_token / 1e6, ".1f"),
        *(_number(value, ".2f") for value in kept),
        _number(setup.session_bytes and setup.session_bytes / 1e6, ".1f"),
        _number(run.resident_bytes and run.resident_bytes / 1e6, ".1f"),
    ]  # fmt: skip


def _machine(run: ModeRun, report: PowerReport) -> list[str]:
    sensed = sum_up(run.moments)
    known = {None: NA, False: "no", True: f"yes: {sensed.throttled_by}" if sensed.throttled_by else "yes"}
    clocks = f"{sensed.mhz_least:.0f} to {sensed.mhz_most:.0f}" if sensed.mhz_least and sensed.mhz_most else NA
    heat = [_number(value, ".1f") for value in (sensed.begin_c, sensed.end_c, sensed.most_c)]
    return [_name(run), *heat, clocks, _number(sensed.mhz_limit, ".0f"), known[sensed.throttled]]


def _over_time(run: ModeRun) -> list[list[str]]:
    """Heat is that of the sensors' moment next to the middle of each piece, which began with the prompts."""
    end_of_log = run.moments[-1].seconds if run.moments else 0.0
    before = max(0.0, end_of_log - (run.token_at[-1] if run.token_at else 0.0))
    rows = []
    for at, rate in run.rates(_SERIES):
        nearest = min(run.moments, key=lambda moment: abs(moment.seconds - before - at), default=None)
        heat = None if nearest is None else nearest.temperature_c
        rows.append([f"{at:.0f}", f"{rate:.1f}", _number(heat, ".1f")])
    return rows


def _remarks(report: PowerReport) -> list[str]:
    lines = []
    if report.idle is not None:
        idle = report.idle
        lines.append(
            f"idle: {idle.watts:.2f} W over {idle.seconds:.0f} s" if idle.watts is not None else f"idle: {idle.why}"
        )
    sources = {stretch.joules.missing for run in report.runs for stretch in (run.prefill, run.decode)}
    lines += [f"not in the joules: {missing}" for missing in sorted(sources - {""})]
    whys: dict[str, list[str]] = {}
    for run in report.runs:
        for what, stretch in (("prefill", run.prefill), ("decode", run.decode)):
            if stretch.joules.why:
                whys.setdefault(stretch.joules.why, []).append(f"{_name(run)} {what}")
    everywhere = 2 * len(report.runs)
    lines += [
        f"energy n/a{'' if len(where) == everywhere else f' ({chr(44).join(where)})'}: {why}"
        for why, where in whys.items()
    ]
    lines += [f"{run.setup.name}: {run.setup.note}" for run in report.runs if run.setup.note]
    lines += worse_modes(report) + report.notes
    if report.stopped:
        cut = [_name(run) for run in report.runs if not run.complete]
        where = f" in {', '.join(cut)}" if cut else ""
        lines.append(f"stopped before its time{where}: what is here is what was measured so far")
    return [f"* {line}" for line in lines]


def _name(run: ModeRun) -> str:
    return run.setup.name if run.setup.program == "rbe" else f"{run.setup.program} {run.setup.name}"


def _number(value: float | None, how: str) -> str:
    return NA if value is None else format(value, how)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
