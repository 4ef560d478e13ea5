"""Tokens per second while another program keeps one core busy, with one thread and with several.

    python tools/busy_cores.py FILE.rbe [--cores 0 1] [--threads 2] [--rounds 5] [--tokens N] [--prompt N]
                               [--before LIBRARY] [--json]

For each core a loop is tied to it; `none` is without one. Every figure is the median of the rounds, in which all sides
take turns: a process each, so that the system chooses their cores anew. --before measures an older librbe.so too. The
loop and the engine are in one session of the system, so that they count alike where it shares processors by sessions.
For Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rbe_edge import Model

WARM_UP = 4
"""Tokens before the clock runs: they touch the file and the memory."""

# It ends with whoever started it, even where that was killed.
_LOOP = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(1000000):
        pass
"""


@dataclass(frozen=True)
class Rate:
    """Tokens per second."""

    prefill: float
    decode: float


@dataclass(frozen=True)
class Side:
    """core: of the loop; None: no loop. library: None is the one of this package."""

    core: int | None
    library: Path | None
    threads: int


def run(file: Path, threads: int, prompt: int, tokens: int) -> Rate:
    """In this process: a prompt of so many tokens, and so many steps behind it."""
    with (
        Model.open(file, verify=False) as model,
        model.session(context=WARM_UP + prompt + tokens, threads=threads) as session,
    ):
        ids = [1 + i % 100 for i in range(max(WARM_UP, prompt))]
        for token in ids[:WARM_UP]:
            session.prefill([token])
        began = time.perf_counter()
        session.prefill(ids[:prompt])
        middle = time.perf_counter()
        for i in range(tokens):
            session.prefill([ids[i % prompt]])
        return Rate(prompt / (middle - began), tokens / (time.perf_counter() - middle))


@contextmanager
def busy(core: int | None) -> Iterator[None]:
    """A loop on a core, which runs when this is entered. ValueError where this process may not use the core."""
    if core is None:
        yield
        return
    if core not in os.sched_getaffinity(0):
        raise ValueError(f"core {core} is not one that this process may use")
    with subprocess.Popen([sys.executable, "-c", _LOOP, str(core)], stdout=subprocess.PIPE) as loop:
        try:
            assert loop.stdout is not None
            loop.stdout.readline()
            yield
        finally:
            loop.kill()


def run_apart(file: Path, side: Side, prompt: int, tokens: int) -> Rate:
    """The same in a process of its own, with the side's library, beside its loop."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if side.library is not None:
        environment["RBE_LIBRARY"] = str(side.library)
    command = [sys.executable, str(Path(__file__).resolve()), str(file), "--once", "--threads", str(side.threads)]
    command += ["--prompt", str(prompt), "--tokens", str(tokens)]
    with busy(side.core):
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return Rate(**json.loads(said))


def measure(file: Path, sides: list[Side], rounds: int, prompt: int, tokens: int) -> list[list[Rate]]:
    """The rates of each side. The order turns from round to round."""
    rates: list[list[Rate]] = [[] for _ in sides]
    for turn in range(rounds):
        for i in range(len(sides)):
            at = (i + turn) % len(sides)
            rates[at].append(run_apart(file, sides[at], prompt, tokens))
    return rates


def sides_of(cores: list[int | None], threads: int, before: Path | None) -> list[Side]:
    """For each core: one thread, which the next ones are compared with; the older library; this one."""
    sides = []
    for core in cores:
        sides += [Side(core, None, 1), *([Side(core, before, threads)] if before else []), Side(core, None, threads)]
    return sides


def table(sides: list[Side], rates: list[list[Rate]]) -> str:
    """Markdown. "Of one thread" compares with one thread beside the same loop."""
    lines = [
        "| loop on core | threads | decode | of one thread | prefill | of one thread |",
        "|---|---|---|---|---|---|",
    ]
    alone = (1.0, 1.0)
    for side, many in zip(sides, rates, strict=True):
        found = [[getattr(rate, name) for rate in many] for name in ("decode", "prefill")]
        middle = [statistics.median(one) for one in found]
        if side.threads == 1 and side.library is None:
            alone = (middle[0], middle[1])
        cells = [
            f"{value:.1f} ({min(one):.1f} to {max(one):.1f}) | {value / base:.2f}"
            for one, value, base in zip(found, middle, alone, strict=True)
        ]
        core = "none" if side.core is None else side.core
        lines.append(f"| {core} | {side.threads}{', before' if side.library else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a .rbe file of a model that generates")
    parser.add_argument("--cores", nargs="*", type=int, help="that get a loop, one after the other (all)")
    parser.add_argument("--threads", type=int, default=2, help="beside one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=200, help="steps of a round (%(default)s)")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of it (%(default)s)")
    parser.add_argument("--before", type=Path, metavar="LIBRARY", help="an older librbe.so, with the same interface")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.rounds, arguments.tokens, arguments.prompt) < 1:
        parser.error("--threads, --rounds, --tokens and --prompt are 1 or more")
    if arguments.once:
        print(json.dumps(asdict(run(arguments.file, arguments.threads, arguments.prompt, arguments.tokens))))
        return
    cores = sorted(os.sched_getaffinity(0)) if arguments.cores is None else arguments.cores
    sides = sides_of([None, *cores], arguments.threads, arguments.before)
    rates = measure(arguments.file, sides, arguments.rounds, arguments.prompt, arguments.tokens)
    if arguments.json:
        found = [
            {"core": side.core, "threads": side.threads, "before": side.library is not None,
             "rates": [asdict(rate) for rate in many]}
            for side, many in zip(sides, rates, strict=True)
        ]  # fmt: skip
        print(json.dumps(found, indent=1))
    else:
        print(table(sides, rates))


if __name__ == "__main__":
    main()
