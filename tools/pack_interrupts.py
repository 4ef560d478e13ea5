"""Ends packings at random moments and proves that the file is always the same, bit for bit.

    python tools/pack_interrupts.py SOURCE [--interrupts 50] [--seed 1] [-- --bits 4 --effort quick ...]

First SOURCE is packed without interruption, which says how long it takes. Then packing begins again with an empty
cache, and SIGINT, SIGTERM or SIGKILL ends it after a random time, up to MOST times until it may finish; and so on,
until so many were ended. Behind `--` stand options of `rbe pack`. Prints a line for each signal and for each finished
file, and exits with 1 where a file differs, or anything is left beside source and output.

A packing that is ended while it starts has nothing finished; half of the moments lie in the first tenth of the time.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MOST = 6
"""Ends of one packing before it may finish."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}  # or of the signal, where Python is starting


@dataclass
class Trial:
    """What is packed where. seconds: of an uninterrupted packing."""

    source: Path
    options: Sequence[str]
    directory: Path
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.directory / "out" / "m.rbe"

    def start(self) -> subprocess.Popen[bytes]:
        """With a cache of its own, and without a shell that might keep Ctrl-C from it."""
        command = [sys.executable, "-m", "rbe_edge", "pack", str(self.source), "-o", str(self.out), *self.options]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.directory / "cache")}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def clear(self) -> None:
        for name in ("cache", "out"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
            (self.directory / name).mkdir()

    def finish(self) -> bytes:
        """Packs to the end; gives the file."""
        process = self.start()
        _, errors = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"the packing failed: {errors.decode(errors='replace').strip()}")
        left = sorted(path.name for path in self.out.parent.iterdir())
        if left != [self.out.name]:
            self.faults.append(f"left beside the output: {left}")
        return self.out.read_bytes()

    def end(self, number: signal.Signals, after: float) -> bool:
        """Starts it and ends it after so many seconds. False where it was quicker."""
        process = self.start()
        try:
            _, errors = process.communicate(timeout=after)
            if process.returncode != 0:
                self.faults.append(f"exit {process.returncode} by itself: {errors.decode(errors='replace').strip()}")
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, errors = process.communicate()
        starting = b"KeyboardInterrupt" in errors  # Python itself was: it ends in its own way
        if process.returncode not in (0, _EXITS[number], -number) and not starting:
            self.faults.append(f"{number.name}: exit {process.returncode}: {errors.decode(errors='replace').strip()}")
        allowed = {self.out.name} | ({f".{self.out.name}.part"} if number == signal.SIGKILL else set())
        left = {path.name for path in self.out.parent.iterdir()} - allowed
        if left:
            self.faults.append(f"{number.name}: left beside the output: {sorted(left)}")
        return process.returncode != 0


def run(trial: Trial, interrupts: int, chance: random.Random) -> int:
    """Gives how many packings were ended."""
    trial.clear()
    beside = sorted(trial.source.parent.iterdir())
    began = time.monotonic()
    whole = trial.finish()
    trial.seconds = time.monotonic() - began
    print(f"{len(whole):,} bytes in {trial.seconds:.1f} s without interruption", flush=True)
    done = 0
    while done < interrupts:
        trial.clear()
        for _ in range(min(chance.randint(1, MOST), interrupts - done)):
            number = chance.choice(SIGNALS)
            share = chance.random() * chance.choice((0.1, 1.0))
            if not trial.end(number, share * trial.seconds):
                break
            done += 1
            print(f"{done:3}  {number.name:8} after {share * trial.seconds:6.2f} s", flush=True)
        if (not trial.out.exists() and trial.finish() != whole) or trial.out.read_bytes() != whole:
            trial.faults.append(f"after {done} interrupts: the file differs")
            print("     another file", flush=True)
        else:
            print("     the same bytes", flush=True)
    if sorted(trial.source.parent.iterdir()) != beside:
        trial.faults.append("something was left beside the source")
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--interrupts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given, options = sys.argv[1:], []
    if "--" in given:
        given, options = given[: given.index("--")], given[given.index("--") + 1 :]
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="pack-interrupts-") as directory:
        trial = Trial(arguments.source, options, Path(directory))
        done = run(trial, arguments.interrupts, random.Random(arguments.seed))
    for fault in trial.faults:
        print(fault)
    print(f"{done} interrupts, {len(trial.faults)} faults")
    return 1 if trial.faults else 0


if __name__ == "__main__":
    sys.exit(main())
