"""`rbe eval FILE --power all`: finds what each power mode may leave unread, measures it, and stores the table."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rbe_edge.cli.opened_source import opened_source
from rbe_edge.cli.output import ProgressBar, note, printable
from rbe_edge.cli.part_lines import mode_lines, mode_report
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress


def evaluate_modes(arguments: argparse.Namespace) -> int:
    from rbe_edge.evaluation.mode_table import plan_modes
    from rbe_edge.format.replacing import replace_parts
    from rbe_edge.packing.calibration import read_text
    from rbe_edge.runtime.model import Model

    if arguments.markdown or arguments.window or arguments.windows is not None or arguments.read_planes:
        raise OptionError("--power all chooses its own windows and planes; it takes --text, --source, -t and --json")
    text = read_text(arguments.text)
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(arguments.file))
        source = stack.enter_context(opened_source(arguments.source)) if arguments.source else None
        bar = stack.enter_context(ProgressBar())
        report = Progress(bar.show, "measuring power modes")
        table = plan_modes(model, text, _name(arguments.text), source=source, threads=arguments.threads, report=report)
    replace_parts(arguments.file, [table.part()])
    if arguments.json:
        print(json.dumps({"file": str(arguments.file), "modes": mode_report(table)}))
        return 0
    for line in mode_lines(table):
        print(printable(line))
    note(f"stored in {arguments.file}")
    return 0


def _name(text: Path | None) -> str:
    """Of the text, as a table holds it."""
    if text is None:
        return "built-in text"
    return "".join(letter if 32 <= ord(letter) < 127 else "?" for letter in text.name)[:111]
