"""What sensors and policy cost (docs/power.md, "Cost"): processor time of a decision, a sample and a reading of energy,
on the machines of tests/golden/power and on this one.

    cmake --preset host && cmake --build --preset host
    python tools/power_cost.py [build/host/native/bench_power]

The files of the trees lie on a disk: reading them costs what the system calls cost, and not what a driver does to give
its answer. What is said of this machine has both. A Raspberry Pi's firmware is not asked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
TREES = REPOSITORY / "tests" / "golden" / "power"
MOST_DECISION, MOST_SAMPLE = 1e-6, 1e-3  # seconds: a microsecond, and .1 % of a core at one a second


class Cost(NamedTuple):
    """Seconds of processor time of each."""

    decision: float
    sample: float
    energy: float


def unpack(tree: Path, root: Path) -> None:
    """Lines "path: content"; a path that ends in / is an empty directory."""
    for line in tree.read_text(encoding="utf-8").splitlines():
        path, _, content = line.partition(": ")
        if line.startswith("#"):
            continue
        place = root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content.replace("\\n", "\n"), encoding="utf-8")


def measure(program: Path, root: str) -> Cost:
    done = subprocess.run([program, root], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"{program} failed")
    return Cost(*map(float, done.stdout.split()))


def costs(program: Path) -> dict[str, Cost]:
    """By machine."""
    found = {}
    for tree in sorted(TREES.glob("*.txt")):
        with tempfile.TemporaryDirectory() as directory:
            unpack(tree, Path(directory))
            found[tree.stem] = measure(program, directory)
    return {**found, "this machine": measure(program, "")}


def table(found: dict[str, Cost]) -> str:
    lines = [
        "| machine | decision | sample | of a core at 1 Hz | reading of energy |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {cost.decision * 1e9:.0f} ns | {cost.sample * 1e6:.0f} us | {cost.sample:.3%} "
        f"| {cost.energy * 1e6:.0f} us |"
        for name, cost in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    program = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build" / "host" / "native" / "bench_power")
    if not program.is_file():
        raise SystemExit(f"{program} is not built; `cmake --preset host && cmake --build --preset host` builds it")
    found = costs(program)
    print(table(found))
    over = [name for name, cost in found.items() if cost.decision >= MOST_DECISION or cost.sample >= MOST_SAMPLE]
    if over:
        print(f"a decision must take less than 1 us, a sample less than 1 ms: not so on {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
