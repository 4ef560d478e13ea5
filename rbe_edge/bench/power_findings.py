"""What the numbers of power modes say beside each other: relative rates, and modes that are worse in every way."""

from __future__ import annotations

from collections.abc import Sequence

from rbe_edge.bench.joules import Joules
from rbe_edge.bench.mode_run import ModeRun
from rbe_edge.bench.power import PowerReport


def relative_rate(run: ModeRun, report: PowerReport) -> float | None:
    """Its tokens/s through those of performance, of which all ran with the threads of its own mode; None where that was
    not run."""
    base = performance(report)
    if base is None or run.rate is None or not base.rate:
        return None
    return run.rate / base.rate


def performance(report: PowerReport) -> ModeRun | None:
    return next((run for run in report.runs if (run.setup.program, run.setup.name) == ("rbe", "performance")), None)


def worse_modes(report: PowerReport) -> list[str]:
    """A line for each mode that costs more time and more quality than another one. Whether it saves energy is said,
    since that is the only thing that could speak for it."""
    own = [run for run in report.runs if run.setup.program == "rbe"]
    return [line for run in own if (line := _worse(run, own, report.idle)) is not None]


def _worse(run: ModeRun, others: Sequence[ModeRun], idle: Joules | None) -> str | None:
    better = [other for other in others if _costs_more(run, other)]
    if not better:
        return None
    best = max(better, key=lambda other: other.rate or 0.0)
    mine, its = decode_joules(run), decode_joules(best)
    if mine is None or its is None:
        energy = "whether it saves energy was not measured here"
    elif mine < its:
        energy = f"all it saves is energy, {mine:.3g} J/token against {its:.3g}"
    else:
        energy = f"and it saves no energy, {mine:.3g} J/token against {its:.3g}"
    return (
        f"{run.setup.name} costs more time and more quality than {best.setup.name} "
        f"({run.rate:.1f} against {best.rate:.1f} tokens/s): {energy}"
    )


def _costs_more(run: ModeRun, other: ModeRun) -> bool:
    mine, its = run.setup.quality, other.setup.quality
    if mine is None or its is None or run.rate is None or other.rate is None:
        return False
    loses = mine.kl > its.kl if mine.kl != its.kl else mine.perplexity > its.perplexity
    return run.rate < other.rate and loses


def decode_joules(run: ModeRun) -> float | None:
    """Joules per token, gross."""
    return run.decode.joules.per(run.decode.n_tokens)
