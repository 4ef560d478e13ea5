"""A replayed discharge as JSON, CSV (its switches) or Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

from rbe_edge.bench.battery_trace import Replay


def as_json(replay: Replay) -> str:
    modes = {
        name: {"tokens": tokens, "seconds": seconds, "tokens_per_s": rate}
        for name, (tokens, seconds, rate) in replay.rates().items()
    }
    sums = {"tokens": replay.n_tokens, "text_kept": replay.kept, "modes": modes}
    return json.dumps({**dataclasses.asdict(replay), **sums})


def as_csv(replay: Replay) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["trace_s", "run_s", "mode", "reason", "tokens_before", "text_kept"])
    for switch in replay.switches:
        when = (round(switch.trace_s, 3), round(switch.run_s, 3))
        table.writerow([*when, switch.mode, switch.reason, switch.n_tokens, switch.kept])
    return out.getvalue().rstrip("\n")


def as_markdown(replay: Replay) -> str:
    lines = [
        f"{replay.model}: a trace of {replay.trace_s:.0f} s, {replay.speed:g} times as fast",
        "",
        "| time of the trace | after tokens | mode | reason |",
        "|---|---|---|---|",
        f"| beginning | 0 | {replay.spans[0].mode} | |",
        *(f"| {s.trace_s:.0f} s | {s.n_tokens} | {s.mode} | {s.reason} |" for s in replay.switches),
        "",
        "| mode | tokens | seconds | tokens/s |",
        "|---|---|---|---|",
        *(f"| {name} | {n} | {seconds:.1f} | {rate:.1f} |" for name, (n, seconds, rate) in replay.rates().items()),
        "",
        f"* {replay.n_tokens} tokens; the longest time without one was {1e3 * replay.longest_gap_s:.0f} ms",
        f"* {len(replay.switches)} switches"
        + (", and the text before each of them is what it was" if replay.switches and replay.kept else "")
        + ("" if replay.kept else ", and the text before them is NOT what it was: this is a bug"),
    ]
    if replay.unseen:
        lines.append(
            f"* {replay.unseen} points were gone within a second, in which sensors are read once: slower, please"
        )
    if not replay.complete:
        lines.append("* stopped before the trace's end")
    return "\n".join(lines)
