"""Write the training dialogues: python -m tools.demo.generate corpus.jsonl"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tools.demo.dialogues import Dialogue, Writer
from tools.demo.overlap import Overlap
from tools.demo.stages import STAGES


def generate(count: int, seed: int) -> Iterator[Dialogue]:
    """count dialogues; the same seed gives the same dialogues."""
    writer = Writer(seed, Overlap.held_out())
    for _ in range(count):
        yield writer.clean_dialogue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=STAGES[0].dialogues)
    parser.add_argument("--seed", type=int, default=STAGES[0].seed)
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8") as out:
        for dialogue in generate(args.count, args.seed):
            out.write(json.dumps(dialogue.messages(), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
