"""Pictures of what `rbe bench --json` measured, for docs/performance.md.

    rbe bench --shape 135M --planes 2 --workloads tg64,pp512 -t 1 --against llama.cpp --json > 135M-2.json
    python tools/performance_plots.py 135M-2.json ... --out docs/images

Writes into the directory those of them that the files hold anything for:
performance-ratios.svg     speed relative to llama.cpp, decode and prefill, each pair and number of threads
performance-context.svg    decode rate over the tokens in the context, where several depths were measured
performance-bandwidth.svg  share of the memory bandwidth that decoding uses, each model and number of threads
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbe_edge.errors import RbeError
from rbe_edge.packing.report import require_matplotlib

TARGETS = {"tg": 2.0, "pp": 2.0}
BANDWIDTH_TARGET = 0.85


@dataclass(frozen=True)
class Point:
    """One row of a report. pair: for llama.cpp, the model of ours that it ran beside. share: of the bandwidth."""

    program: str
    model: str
    pair: str
    kind: str
    n_tokens: int
    depth: int
    threads: int
    rate: float
    ratio: float | None
    share: float | None


def read_points(path: Path) -> list[Point]:
    """Rows of plain decoding and of prompts; raises ValueError where the file is no report of rbe bench."""
    found: list[Point] = []
    ours = ""
    try:
        for row in json.loads(path.read_text(encoding="utf-8"))["results"]:
            if row.get("speculate"):
                continue
            named = re.fullmatch(r"(pp|tg)(\d+)(?:@(\d+))?", row["workload"])
            if named is None:
                raise ValueError(f"workload {row['workload']!r}")
            if row["program"] == "rbe":
                ours = row["model"]
            found.append(
                Point(
                    row["program"], row["model"], ours, named[1], int(named[2]), int(named[3] or 0),
                    int(row["threads"]), float(row["tokens_per_s_median"]), row["ratio"], row["of_bandwidth"],
                )
            )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no report of `rbe bench --json` ({error})") from None
    return found


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _bars(axes: Any, labels: Sequence[str], values: Sequence[float], form: str, target: float) -> None:
    """From above to below, each with its number."""
    places = range(len(values))
    axes.barh(places, values, color="tab:blue", height=0.7)
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(target, color="tab:red", linewidth=1, linestyle="--")
    for place, value in zip(places, values, strict=True):
        axes.annotate(form.format(value), (value, place), textcoords="offset points", xytext=(3, -3), fontsize=8)
    axes.margins(x=0.12)


def ratios(points: Iterable[Point], figure_of: Callable[[float, float], Any]) -> Any:
    """None where nothing was compared."""
    compared = [point for point in points if point.ratio is not None and point.depth == 0]
    kinds = [kind for kind in ("tg", "pp") if any(point.kind == kind for point in compared)]
    if not kinds:
        return None
    most = max(sum(point.kind == kind for point in compared) for kind in kinds)
    figure = figure_of(5.5 * len(kinds), 1.2 + 0.22 * most)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        chosen = [point for point in compared if point.kind == kind]
        labels = [f"{p.pair} / {p.model}, {_threads(p.threads)}, {kind}{p.n_tokens}" for p in chosen]
        _bars(axes, labels, [p.ratio or 0.0 for p in chosen], "{:.2f}", TARGETS[kind])
        axes.set_xlabel(f"{'decode' if kind == 'tg' else 'prefill'}, times llama.cpp (dashed: {TARGETS[kind]:.1f})")
    return figure


def context(points: Iterable[Point], figure_of: Callable[[float, float], Any]) -> Any:
    """None where no model was measured at several depths."""
    lines: dict[tuple[str, str, int], dict[int, float]] = {}
    for point in points:
        if point.kind == "tg":
            name = point.model if point.program == "rbe" else f"{point.program} {point.model}, {point.pair}"
            lines.setdefault((point.program, name, point.threads), {})[point.depth + point.n_tokens // 2] = point.rate
    lines = {key: line for key, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    figure = figure_of(7, 4)
    axes = figure.subplots()
    for (program, name, threads), line in sorted(lines.items()):
        x = sorted(line)
        axes.plot(x, [line[at] for at in x], "o-" if program == "rbe" else "s--", label=f"{name}, {_threads(threads)}")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("tokens in the context")
    axes.set_ylabel("decode, tokens/s")
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def bandwidth(points: Iterable[Point], figure_of: Callable[[float, float], Any]) -> Any:
    """None where no decoding was measured."""
    shares = {
        (point.model, point.threads): point.share for point in points if point.share is not None and point.depth == 0
    }
    if not shares:
        return None
    figure = figure_of(6.5, 1.2 + 0.22 * len(shares))
    axes = figure.subplots()
    labels = [f"{model}, {_threads(threads)}" for model, threads in shares]
    _bars(axes, labels, [100 * share for share in shares.values()], "{:.0f} %", 100 * BANDWIDTH_TARGET)
    axes.set_xlabel(f"of what as many threads read from memory, % (dashed: {100 * BANDWIDTH_TARGET:.0f})")
    return figure


def draw(points: Sequence[Point], out: Path) -> list[Path]:
    """The pictures, as files in a directory that is there. Raises MissingExtra."""
    matplotlib = require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    def figure_of(width: float, height: float) -> Any:
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "rbe", "svg.fonttype": "none", "font.family": "sans-serif"}):
        for name, make in (("ratios", ratios), ("context", context), ("bandwidth", bandwidth)):
            figure = make(points, figure_of)
            if figure is not None:
                written.append(out / f"performance-{name}.svg")
                figure.savefig(written[-1], format="svg", metadata={"Date": None})
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="made by rbe bench --json")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="a directory (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        points = [point for path in given.reports for point in read_points(path)]
        given.out.mkdir(parents=True, exist_ok=True)
        written = draw(points, given.out)
    except (RbeError, OSError, ValueError) as error:
        sys.exit(f"performance_plots: {error}")
    print("\n".join(map(str, written)) or "nothing to draw")


if __name__ == "__main__":
    main()
