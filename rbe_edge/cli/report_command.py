"""`rbe report`: measurements of the codes themselves."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.output import ProgressBar, printable
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.packing.smooth_codes import FloatArray, Row

_EXAMPLE = """\
example:
  rbe report extremes
  rbe report extremes --markdown model.safetensors
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "report",
        help="measure the codes themselves",
        description="Measures what a code loses on matrices, without a model.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reports = parser.add_subparsers(metavar="REPORT", required=True)
    extremes = reports.add_parser(
        "extremes",
        help="seed64 and basis beside the trellis and the Shannon limit",
        description="Ratio and relative error |W - W'| / |W| (not squared) of the codes seed64 and basis on a smooth "
        "synthetic matrix and on the matrices of safetensors files, beside the trellis and 2^-bits, the Shannon limit "
        "on a Gaussian matrix.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    extremes.add_argument("files", metavar="TENSORS.safetensors", nargs="*", type=Path, help="matrices to measure too")
    extremes.add_argument("-t", "--threads", metavar="N", type=int, help="threads (one per core)")
    form = extremes.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON object")
    form.add_argument("--markdown", action="store_true", help="write a Markdown table")
    extremes.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.packing import smooth_codes
    from rbe_edge.packing.pack import MAX_THREADS

    if arguments.threads is not None and not 1 <= arguments.threads <= MAX_THREADS:
        raise OptionError(f"--threads {arguments.threads} is not possible; give 1 to {MAX_THREADS}")
    rows: list[Row] = []
    with ProgressBar() as bar:
        for name, values in _matrices(arguments.files):
            progress = Progress(bar.show, name, total=1)
            progress.tell()
            rows += smooth_codes.compare(name, values, arguments.threads, progress)
    if arguments.json:
        print(json.dumps({"rows": [dataclasses.asdict(row) for row in rows]}))
    else:
        for line in _table(rows, arguments.markdown):
            print(printable(line))
    return 0


def _matrices(files: Sequence[Path]) -> Iterator[tuple[str, FloatArray]]:
    """The smooth matrix, and those of the files that are matrices; all files are opened before one is measured."""
    import numpy as np

    from rbe_edge.packing.smooth_codes import smooth_matrix
    from rbe_edge.sources.hugging_face import read_safetensors

    opened = [(path, read_safetensors(path)) for path in files]
    for path, tensors in opened:
        if not any(len(tensor.shape) == 2 for tensor in tensors.values()):
            raise OptionError(f"{path}: holds no matrix; give a file with tensors of two dimensions")
    yield "smooth", smooth_matrix()
    for path, tensors in opened:
        for name, tensor in tensors.items():
            if len(tensor.shape) != 2 or 0 in tensor.shape:
                continue
            if tensor.kind not in ("fp32", "fp16", "bf16"):
                raise OptionError(f"{path}: `{name}` is stored as {tensor.kind}; give fp32, fp16 or bf16")
            values = tensor.read()
            if not np.isfinite(values).all():
                raise OptionError(f"{path}: `{name}` holds numbers that are not finite; the file is damaged")
            yield name, values


def _table(rows: Sequence[Row], markdown: bool) -> Iterator[str]:
    heads = ("matrix", "code", "bytes", "ratio to fp32", "bits per weight", "relative error", "Shannon limit")
    lines = [
        (
            f"{row.matrix} {row.rows}x{row.cols}", row.code, f"{row.bytes:,}", f"{row.ratio:.3g}:1" if row.ratio < 1000
            else f"{row.ratio:,.0f}:1", f"{row.bits_per_weight:.3g}", f"{100 * row.error:.3g} %",
            f"{100 * row.shannon:.3g} %",
        )
        for row in rows
    ]  # fmt: skip
    if markdown:
        yield "| " + " | ".join(heads) + " |"
        yield "|" + "---|" * len(heads)
        for line in lines:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        return
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    for line in [heads, *lines]:
        yield "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
