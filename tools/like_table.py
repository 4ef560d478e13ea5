"""Writes what `rbe compare` measured on a real model into the table of `rbe pack --like` (packing/likeness.json).

    rbe compare MODEL.gguf --text wiki.test.raw --window 512 --windows 6 --bits 3,4,5,6 --json > comparison.json
    python tools/like_table.py comparison.json --model SmolLM2-135M-Instruct --text "6 windows of 512 tokens of ..."

The entry of that model is replaced, others stay. Rows of the source's own type are left out. Prints the table that
follows: by type, bits per weight of llama.cpp's file and of ours. The model must be a published one: models that were
trained for a test lose less than real ones, and would promise too much.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from rbe_edge.packing.likeness import TABLE, of_model


def entry_of(comparison: dict[str, Any], model: str, text: str, date: str) -> dict[str, Any]:
    """An entry of the table. Raises ValueError where one side was not measured."""
    rows = [row for row in comparison["rows"] if not row.get("own")]
    ours = sorted([round(row["bits_per_weight"], 3), row["kl"]] for row in rows if row["engine"] == "rbe")
    types = {
        row["name"]: [round(row["bits_per_weight"], 3), row["kl"]]
        for row in sorted(rows, key=lambda row: row["bits_per_weight"])
        if row["engine"] != "rbe"
    }
    if not ours or not types:
        raise ValueError("the comparison needs rows of both sides")
    return {"model": model, "date": date, "text": text, "rbe": ours, "types": types}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Adds a comparison to the table of `rbe pack --like`.")
    parser.add_argument("comparison", type=Path, help="what `rbe compare --json` wrote")
    parser.add_argument("--model", required=True, help="its published name")
    parser.add_argument("--text", required=True, help="what was measured on, in words")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the measurement (today)")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to change")
    arguments = parser.parse_args(argv)
    try:
        comparison = json.loads(arguments.comparison.read_text(encoding="utf-8"))
        entry = entry_of(comparison, arguments.model, arguments.text, arguments.date)
        table = json.loads(arguments.table.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"like_table: {error}", file=sys.stderr)
        return 1
    table["measured"] = [old for old in table["measured"] if old["model"] != arguments.model] + [entry]
    arguments.table.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for name, found in of_model(entry).items():
        print(f"{name:8} {found.theirs:6.2f} {found.bits:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
