"""Pictures of the benchmark of power modes: energy or time against quality, and rate over time. Extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rbe_edge.bench.mode_run import ModeRun
from rbe_edge.bench.power import PowerReport
from rbe_edge.bench.power_findings import decode_joules
from rbe_edge.errors import MissingExtra


def require_matplotlib() -> Any:
    """The matplotlib package. Raises MissingExtra."""
    try:
        import matplotlib.figure
    except ImportError:
        raise MissingExtra("pictures need matplotlib; install it with: pip install 'rbe-edge[plot]'") from None
    return matplotlib


def write_plots(report: PowerReport, prefix: Path) -> list[Path]:
    """PREFIX-quality.png, where quality is known, and PREFIX-rate.png. Raises MissingExtra, OSError."""
    written = []
    for name, draw in (("quality", _quality), ("rate", _rate)):
        figure = require_matplotlib().figure.Figure(figsize=(7, 4.5), layout="constrained")
        if draw(report, figure):
            written.append(prefix.with_name(f"{prefix.name}-{name}.png"))
            figure.savefig(written[-1], dpi=150)
    return written


def quality_points(report: PowerReport) -> tuple[str, list[tuple[str, float, float]]]:
    """What stands on the axis of cost, and name, KL and cost of each mode: joules where all modes have them, else
    time."""
    runs = [run for run in report.runs if run.setup.quality is not None]
    joules = [decode_joules(run) for run in runs]
    known = [value for value in joules if value is not None]
    costs = known if len(known) == len(runs) else [1e3 / run.rate if run.rate else 0.0 for run in runs]
    label = "joules per token" if len(known) == len(runs) else "milliseconds per token (energy n/a)"
    return label, [(run.setup.name, _kl(run), cost) for run, cost in zip(runs, costs, strict=True)]


def _kl(run: ModeRun) -> float:
    assert run.setup.quality is not None
    return run.setup.quality.kl


def _quality(report: PowerReport, figure: Any) -> bool:
    label, points = quality_points(report)
    if not points:
        return False
    axes = figure.add_subplot()
    for name, kl, cost in points:
        axes.plot([kl], [cost], "o")
        axes.annotate(name, (kl, cost), textcoords="offset points", xytext=(6, 4))
    axes.set_xlabel("KL divergence, nats (less is better)")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.15)
    axes.set_title(f"{report.model}, {report.machine.processor}")
    return True


def _rate(report: PowerReport, figure: Any) -> bool:
    runs = [run for run in report.runs if run.token_at]
    if not runs:
        return False
    heats = [[(m.seconds, m.temperature_c) for m in run.moments if m.temperature_c is not None] for run in runs]
    n_rows = 2 if any(heats) else 1
    axes = figure.add_subplot(n_rows, 1, 1)
    for run in runs:
        points = run.rates()
        name = run.setup.name if run.setup.program == "rbe" else f"{run.setup.program} {run.setup.name}"
        axes.plot([at for at, _ in points], [rate for _, rate in points], label=name)
    axes.set_ylabel("tokens/s")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.set_title(f"{report.model}, {report.machine.processor}")
    if n_rows == 2:
        axes = figure.add_subplot(n_rows, 1, 2)
        for run, heat in zip(runs, heats, strict=True):
            axes.plot([at for at, _ in heat], [celsius for _, celsius in heat], label=run.setup.name)
        axes.set_ylabel("C")
    axes.set_xlabel("seconds")
    return True
