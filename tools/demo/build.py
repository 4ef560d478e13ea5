"""Make the demo model from nothing: dialogues, training, packing, evaluation.

    python -m tools.demo.build --work build/demo

About an hour on one processor core. Needs the package itself, installed, and torch, transformers and
tokenizers. Writes rbe_edge/demo/demo.rbe and tools/demo/transcripts.{md,json}.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from tools.demo.stages import BITS, STAGES

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "rbe_edge" / "demo" / "demo.rbe"
TRANSCRIPTS = REPOSITORY / "tools" / "demo" / "transcripts"


def run(*command: str | Path) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=REPOSITORY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the dialogues and checkpoints")
    parser.add_argument("--bf16", action="store_true", help="train in bf16, where the processor has it")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(STAGES):
        corpus = work / f"corpus{number}.jsonl"
        drawn = ["--seed", str(stage.seed), "--count", str(stage.dialogues)]
        run(sys.executable, "-m", "tools.demo.generate", corpus, *drawn)
        schedule = ["--tokens", str(stage.tokens), "--rate", str(stage.rate), "--seed", str(number + 1)]
        flags = ["--resume"] * (number > 0) + ["--bf16"] * args.bf16
        run(sys.executable, "-m", "tools.demo.train", corpus, "--work", work, *schedule, *flags)
    DEMO.parent.mkdir(exist_ok=True)
    run(shutil.which("rbe") or "rbe", "pack", work / "pebble", "-o", DEMO, "--bits", str(BITS), "--force")
    run(sys.executable, "-m", "tools.demo.evaluate", DEMO, "--out", TRANSCRIPTS)


if __name__ == "__main__":
    main()
