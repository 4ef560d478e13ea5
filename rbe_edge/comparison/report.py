"""A comparison as Markdown, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from rbe_edge.comparison.compare import GGML, RBE, Comparison, Row
from rbe_edge.packing.report import require_matplotlib

_TITLES = {GGML: "ggml", RBE: "RBE"}


def excess(row: Row) -> float:
    """How much the perplexity is above the engine's own of the fp32 model, in per cent."""
    return 100 * (row.measured.perplexity_ratio - 1)


def bits_at(rows: Sequence[Row], value: float, of: Callable[[Row], float]) -> float | None:
    """Bits per weight at which the curve through `rows` (by size) has the value, interpolated in its logarithm; None
    outside of the curve, or where it is not positive."""
    if value <= 0:
        return None
    points = sorted((row.bits_per_weight, of(row)) for row in rows)
    for (low, high_value), (high, low_value) in itertools.pairwise(points):
        if min(high_value, low_value) > 0 and low_value <= value <= high_value:
            share = math.log(high_value / value) / math.log(high_value / low_value) if high_value > low_value else 0.0
            return low + share * (high - low)
    return None


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, plus what is derived."""
    ours = [row for row in comparison.rows if row.engine == RBE]
    known = dataclasses.asdict(comparison)
    for row, entry in zip(comparison.rows, known["rows"], strict=True):
        entry |= entry.pop("measured")
        entry["perplexity_ratio"] = row.measured.perplexity_ratio
        entry["flipped"] = row.measured.flipped
        if row.engine == GGML and not row.own:
            entry["rbe_bits_at_this_kl"] = bits_at(ours, row.measured.kl, _kl)
            entry["rbe_bits_at_this_perplexity"] = bits_at(ours, excess(row), excess)
    return known


def _kl(row: Row) -> float:
    return row.measured.kl


def markdown(comparison: Comparison) -> str:
    """The table, by size, and under it what was measured. What the source's own type costs stands before it."""
    ours = [row for row in comparison.rows if row.engine == RBE]
    lines = [
        *_own_lines(comparison),
        "| code | bytes | bits per weight | KL | KL, 99 % | flipped | perplexity | above fp32 "
        "| RBE at this KL | at this perplexity |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(comparison.rows, key=lambda row: row.bytes):
        theirs = row.engine == GGML and not row.own
        same = [bits_at(ours, of(row), of) if theirs else None for of in (_kl, excess)]
        saved = (
            ["own type", ""]
            if row.own
            else ["" if bits is None else f"{bits:.2f} ({bits - row.bits_per_weight:+.2f})" for bits in same]
        )
        name = f"ggml {row.name}{' *' * row.own}" if row.engine == GGML else f"**RBE {row.name}**"
        lines.append(
            f"| {name} | {row.bytes:,} | {row.bits_per_weight:.2f} | "
            f"{_digits(row.measured.kl)} ± {_digits(row.measured.kl_error)} | {_digits(row.measured.kl_p99)} | "
            f"{100 * row.measured.flipped:.1f} % | {row.measured.perplexity:.3f} | {excess(row):+.2f} % | "
            f"{saved[0]} | {saved[1]} |"
        )
    between = "" if comparison.engines_kl is None else f"; KL between the engines in fp32 {comparison.engines_kl:.1e}"
    lines += [
        "",
        f"{comparison.model}: {comparison.parameters:,} weights, fp32 perplexity {comparison.perplexity:.3f}{between}. "
        f"{comparison.n_windows} windows of {comparison.window} tokens; calibrated on "
        f"{comparison.calibration_tokens:,} tokens; llama-cpp-python {comparison.llama_cpp_python}.",
    ]
    return "\n".join(lines)


def _own_lines(comparison: Comparison) -> list[str]:
    """What requantising a quantised source costs: before the table, for it explains rows of it."""
    if comparison.own_type is None:
        return []
    found = next((row for row in comparison.rows if row.own and row.name == comparison.own_type), None)
    cost = ""
    if found is not None:
        measured = found.measured
        cost = f": KL {_digits(measured.kl)}, {100 * measured.flipped:.1f} % flipped, perplexity {excess(found):+.2f} %"
    return [
        f"The source is {comparison.own_type} already. Requantised to its own type{cost}. Rows of that type (*) lie on "
        "the grid of the source; they say nothing of the type and are compared with nothing.",
        "",
    ]


def _digits(value: float) -> str:
    """Two significant digits, without an exponent."""
    return f"{value:.{max(1 - math.floor(math.log10(value)), 2)}f}" if value > 0 else "0"


def plot(comparison: Comparison) -> str:
    """Bits per weight against KL and against perplexity, both engines, as SVG. Raises MissingExtra."""
    matplotlib = require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "rbe", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, 5), layout="constrained")
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2)
        for axes, of, label in ((left, _kl, "KL to fp32, nats per token"), (right, excess, "perplexity above fp32, %")):
            for engine, marker, colour in ((GGML, "o", "tab:orange"), (RBE, "s", "tab:blue")):
                rows = [row for row in comparison.rows if row.engine == engine and of(row) > 0 and not row.own]
                style = "-" if engine == RBE else ""
                points = [row.bits_per_weight for row in rows], [of(row) for row in rows]
                axes.plot(*points, marker + style, color=colour, label=_TITLES[engine])
                for row in rows:
                    where = (row.bits_per_weight, of(row))
                    axes.annotate(row.name, where, textcoords="offset points", xytext=(5, 4), fontsize=8, color=colour)
            axes.set_yscale("log")
            axes.set_xlabel("bits per weight")
            axes.set_ylabel(label)
            axes.grid(True, which="both", alpha=0.25)
            axes.legend()
        figure.suptitle(comparison.model)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
