"""`rbe pack --report`: the planes of every tensor and the reason for them, as a table in Markdown and a picture (rate
against distortion)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.files.new_file import check_place, write_file
from rbe_edge.packing.allocation import Choice, Decision
from rbe_edge.packing.loss import NATS_PER_TOKEN

PICTURE_SUFFIX = ".png"


@dataclass(frozen=True)
class Coded:
    """A tensor as it was packed. error: squared, relative to the squared norm."""

    decision: Decision
    error: float


def check(path: Path) -> None:
    """Raises PackError where a report cannot be put there, MissingExtra where it is to be a picture that cannot be
    drawn, before hours are spent on the packing."""
    if path.is_dir() or not path.parent.is_dir():
        raise PackError(f"{path}: no place for a report; give the name of a file in a directory that exists")
    for file in _files(path):
        check_place(file, PackError, replace=True)
    if path.suffix == PICTURE_SUFFIX:
        require_matplotlib()


def write(
    path: Path,
    title: str,
    budget_bits: float,
    file_bits: float,
    unit: str | None,
    tensors: Sequence[Coded],
) -> None:
    """Writes PATH.md and, where matplotlib is there, PATH.png; a PATH in .png asks for both and fails without.

    unit: of losses, such as "nats per token"; None where sensitivities were not measured, but tendencies assumed.
    """
    table, picture = _files(path)
    drawn = True
    try:
        write_file(picture, _picture(title, tensors), PackError, replace=True)
    except MissingExtra:
        if path.suffix == PICTURE_SUFFIX:
            raise
        drawn = False
    text = markdown(title, budget_bits, file_bits, unit, tensors, picture.name if drawn else None)
    write_file(table, text.encode(), PackError, replace=True)


def _files(path: Path) -> tuple[Path, Path]:
    """The table and the picture."""
    stem = path.with_suffix("") if path.suffix in (".md", PICTURE_SUFFIX) else path  # not the 2 of "model-3.2"
    return stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}{PICTURE_SUFFIX}")


def markdown(
    title: str,
    budget_bits: float,
    file_bits: float,
    unit: str | None,
    tensors: Sequence[Coded],
    picture: str | None,
) -> str:
    """The report as a text."""
    total = sum(coded.decision.choice.kl for coded in tensors)
    n_bytes = sum(coded.decision.choice.file_bytes for coded in tensors)
    lines = [f"# {title}", ""]
    lines.append(
        f"Asked for {budget_bits:g} bits per weight of the whole file, made {file_bits:.4f}. "
        f"The tensors take {n_bytes:,} bytes."
    )
    if unit == NATS_PER_TOKEN:
        lines.append(
            f"Predicted KL divergence to the source: {total:.5f} nats per token, the sum over tensors. Sensitivity: "
            "nats per token and unit of relative squared error, foretold from the calibration text (docs/codec.md, "
            '"Effort").'
        )
    elif unit is not None:
        lines.append(
            f"Predicted distance to the source: {total:.5f} ({unit}), the sum over tensors, in the column KL. "
            f"Sensitivity: {unit} per unit of relative squared error (docs/encoders.md)."
        )
    else:
        lines.append("Nothing was measured: sensitivities are tendencies, only their ratios mean something.")
    lines.append(
        "Error: squared, relative to the squared norm. Less and more: what the next smaller and the next larger rate "
        f"of the tensor would change, in bytes and in {unit or NATS_PER_TOKEN}."
    )
    lines += ["", f"![rate against distortion]({picture})"] if picture else []
    if not picture:
        lines += ["", "No picture: matplotlib is not installed (`pip install 'rbe-edge[plot]'`)."]
    lines += ["", "| tensor | shape | planes | bits | bytes | error | sensitivity | KL | share | less | more |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    lines += [_row(coded, total) for coded in tensors if len(coded.decision.choices) > 1]
    rest = [coded.decision for coded in tensors if len(coded.decision.choices) == 1]
    if rest:
        rest_bytes = sum(decision.choice.file_bytes for decision in rest)
        lines += ["", f"Besides, stored as they are: {len(rest)} tensors (norms and the like), {rest_bytes:,} bytes."]
    return "\n".join(lines) + "\n"


def _planes(choice: Choice) -> str:
    return "+".join(map(str, choice.storage.planes)) or "dense"


def _row(coded: Coded, total: float) -> str:
    decision = coded.decision
    tensor, choice = decision.tensor, decision.choice
    bits = 8 * choice.file_bytes / (tensor.rows * tensor.cols)
    share = f"{100 * choice.kl / total:.1f} %" if total > 0 else "-"

    def step(index: int) -> str:
        if not 0 <= index < len(decision.choices):
            return "-"
        other = decision.choices[index]
        return f"{_planes(other)}: {other.file_bytes - choice.file_bytes:+,}, {other.kl - choice.kl:+.2g}"

    cells = [
        tensor.name, f"{tensor.rows} x {tensor.cols}", _planes(choice), f"{bits:.2f}", f"{choice.file_bytes:,}",
        f"{coded.error:.3g}", f"{decision.sensitivity:.3g}", f"{choice.kl:.3g}", share, step(decision.chosen - 1),
        step(decision.chosen + 1),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def require_matplotlib() -> Any:
    """The matplotlib package. Raises MissingExtra."""
    try:
        import matplotlib.figure
    except ImportError:
        raise MissingExtra("pictures need matplotlib; install it with: pip install 'rbe-edge[plot]'") from None
    return matplotlib


def _picture(title: str, tensors: Sequence[Coded]) -> bytes:
    """As a PNG. Raises MissingExtra."""
    figure = require_matplotlib().figure.Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for coded in tensors:
        tensor, choice = coded.decision.tensor, coded.decision.choice
        if len(coded.decision.choices) > 1 and coded.error > 0:
            rates, errors = groups.setdefault(tensor.name.rsplit(".", 1)[-1], ([], []))
            rates.append(8 * choice.file_bytes / (tensor.rows * tensor.cols))
            errors.append(coded.error)
    largest = max((rate for rates, _ in groups.values() for rate in rates), default=4.0)
    line = np.linspace(0.5, largest + 0.5, 50)
    axes.plot(line, 2.0 ** (-2 * line), color="black", linewidth=1, label="Shannon limit of a Gaussian, $2^{-2R}$")
    for name, (rates, errors) in groups.items():
        axes.scatter(rates, errors, s=22, label=name, alpha=0.8)
    axes.set(yscale="log", xlabel="rate: bits per weight of the tensor", ylabel="squared error, relative", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=PICTURE_SUFFIX.removeprefix("."))
    return picture.getvalue()
