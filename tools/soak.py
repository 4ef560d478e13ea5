"""Many clients, for a long time, against a server of its own: what it promises must hold to the end. For Linux.

    python -m tools.soak [--seconds 1800] [--clients 8] [--seed 1] [--growth 16] [--json]

The server has the demo model and copies of it, of which its memory holds one or two at a time, so that models come and
go as they are asked for; the power mode changes every few seconds, by a battery that is a file. A client asks (whole
answers, streams, schemas, embeddings), reads slowly, stalls in the middle of a request, sends nonsense, or leaves. The
greedy answers are known beforehand from the library, and each is compared.

Prints what was done, the memory of the server (its own, without mapped files) and its growth per hour behind the first
quarter of the time, which warms up, its descriptors before and after, p50 and p99 of whole answers in the first and the
last quarter, and the answers 5xx. Exits with 1 where a promise is broken: an answer is another one or does not come, an
answer 5xx (503 with Retry-After is none), memory that grew by more than --growth MB, descriptors that stay open, a
traceback in the log, a server that does not stop when it is told to.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbe_edge.cli.served_models import needed_bytes
from rbe_edge.format.modes import SKIP, Mode, ModeTable
from rbe_edge.format.replacing import replace_parts
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SessionOptions
from tools.soak_clients import MAX_TOKENS, Client, Known, Seen

QUESTIONS = (
    "Hello!",
    "What are you?",
    "How does a battery age?",
    "Tell me a joke.",
    "My name is Ann.",
    "Why is it hot?",
)
_COPIES = ("first", "second", "third")
_SAVES = "saves"  # whose answers the power mode changes
_SLOTS = 3
_CONTEXT = 512
_POLICY = "least_seconds = 0\ncharger_seconds = 0\nhysteresis = 0\n"
_SERVER = Path(__file__).with_name("soak_server.py")
_START_S = 60.0
_STOP_S = 60.0
_SAMPLE_S = 1.0
_SPARE_DESCRIPTORS = 2


@dataclass
class Report:
    """seconds: of load. seen: counts by kind of client. switches: of the power mode. swaps: how often other models were
    in memory than a second before. growth_mb: between the medians of the first and the last quarter behind the warm-up.
    tenths_mb: the median of the memory in each tenth of the time. faults: what was broken, in words."""

    seconds: float
    seen: dict[str, int]
    busy: int
    failures_5xx: int
    switches: int
    swaps: int
    memory_mb: float
    growth_mb: float
    growth_mb_per_hour: float
    tenths_mb: list[float]
    descriptors: tuple[int, int]
    p50_ms: tuple[float, float]
    p99_ms: tuple[float, float]
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        done = ", ".join(f"{name} {count}" for name, count in sorted(self.seen.items()))
        return [
            f"{sum(self.seen.values())} done in {self.seconds:.0f} s: {done}",
            f"busy {self.busy}, 5xx {self.failures_5xx}",
            f"power mode switched {self.switches} times, models in memory at least {self.swaps} times",
            f"memory {self.memory_mb:.1f} MB at the end, grew by {self.growth_mb:.2f} MB behind the warm-up, "
            f"{self.growth_mb_per_hour:.2f} MB per hour",
            f"memory by tenths of the time: {', '.join(f'{one:.0f}' for one in self.tenths_mb)} MB",
            f"descriptors {self.descriptors[0]} before, {self.descriptors[1]} after",
            f"whole answers, first and last quarter: p50 {self.p50_ms[0]:.0f} and {self.p50_ms[1]:.0f} ms, "
            f"p99 {self.p99_ms[0]:.0f} and {self.p99_ms[1]:.0f} ms",
            *(f"broken: {fault}" for fault in self.faults[:20]),
            f"{len(self.faults)} promises broken" if self.faults else "every promise held",
        ]


class Battery:
    """A battery that is a file, and goes up and down until it is stopped."""

    def __init__(self, root: Path, seed: int) -> None:
        self._directory = root / "sys/class/power_supply/BAT0"
        self._directory.mkdir(parents=True)
        for name, text in (("type", "Battery"), ("present", "1"), ("status", "Discharging")):
            (self._directory / name).write_text(text + "\n", encoding="ascii")
        self.set(80)
        self._chance = random.Random(seed)

    def set(self, percent: int) -> None:
        new = self._directory / "capacity.new"
        new.write_text(f"{percent}\n", encoding="ascii")
        new.replace(self._directory / "capacity")

    def go(self, stop: threading.Event) -> None:
        while not stop.wait(self._chance.uniform(0.5, 4.0)):
            self.set(self._chance.choice((80, 30, 12, 3)))


class Server:
    """The process, and what the system says of it."""

    def __init__(self, folder: Path, root: Path) -> None:
        models = folder / "models"
        limit = 5 * needed_bytes(demo_path(), SessionOptions(context=_CONTEXT), _SLOTS) // 2
        (folder / "policy").write_text(_POLICY, encoding="ascii")
        flags = ["--port", "0", "--json", "--models", str(models), "--slots", str(_SLOTS), "-c", str(_CONTEXT)]
        flags += ["-t", "2", "--kv", "f16", "--queue", "64", "--models-memory", str(limit), "--policy"]
        command = [sys.executable, str(_SERVER), str(root), "serve", str(demo_path()), *flags, str(folder / "policy")]
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, cwd=folder
            )
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        if not told:
            raise SystemExit(f"the server did not start: {self.log()[-500:]}")
        self.port = int(json.loads(told)["url"].split(":")[2].partition("/")[0])

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def models(self) -> frozenset[str]:
        """That are in memory."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/ps", timeout=60) as answer:
            return frozenset(one["name"] for one in json.load(answer)["models"])

    def memory(self) -> int:
        """Bytes of its own, without mapped files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settled_descriptors(self, most: int, seconds: float = 45.0) -> int:
        """Of a server without clients: idle connections end by and by."""
        until = time.monotonic() + seconds
        while (found := self.descriptors()) > most and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def stop(self) -> str | None:
        """What is wrong with how it stops."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            return f"the server did not stop within {_STOP_S:.0f} s"
        return None if code == 0 else f"the server ended with {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def known_answers() -> Known:
    with Model.open(demo_path()) as model:
        answers = {one: model.chat(one, max_tokens=MAX_TOKENS, temperature=0) for one in QUESTIONS}
        vectors = model.embed(list(QUESTIONS), pooling="mean")
    numbers = {one: [float(x) for x in vector] for one, vector in zip(QUESTIONS, vectors, strict=True)}
    return Known(answers, numbers, (demo_path().stem, *_COPIES), (_SAVES,))


def make_models(folder: Path) -> None:
    """Copies of the demo, and one that leaves out the last layer's feed-forward step in modes that save."""
    folder.mkdir()
    for name in (*_COPIES, _SAVES):
        shutil.copy(demo_path(), folder / f"{name}.rbe")
    with Model.open(demo_path()) as model:
        n_layers = model.info.layers
    less = Mode(attention=(0,) * n_layers, feed_forward=(*(0,) * (n_layers - 1), SKIP))
    table = ModeTable(n_layers, (Mode(), Mode(), less, less))
    replace_parts(folder / f"{_SAVES}.rbe", [table.part()])


@contextlib.contextmanager
def _running(folder: Path, seed: int) -> Iterator[tuple[Server, Battery]]:
    battery = Battery(folder / "machine", seed)
    make_models(folder / "models")
    server = Server(folder, folder / "machine")
    try:
        yield server, battery
    finally:
        server.end()


def _warm(server: Server, known: Known, seed: int) -> list[str]:
    """Everything once, so that what is opened once is open. What was wrong."""
    seen = Seen()
    client = Client(server.port, known, seen, threading.Event(), seed)
    for do in (client.whole, client.stream, client.schema, client.vectors, client.other):
        do()
    return seen.faults


def soak(folder: Path, seconds: float, n_clients: int, seed: int, growth_mb: float) -> Report:
    """Runs it all in an empty folder. growth_mb: what the memory may grow by behind the warm-up."""
    known, seen, stop = known_answers(), Seen(), threading.Event()
    with _running(folder, seed) as (server, battery):
        faults = _warm(server, known, seed)
        before = server.settled_descriptors(0, 1.0)
        clients = [Client(server.port, known, seen, stop, seed * 1000 + index) for index in range(n_clients)]
        flapping = threading.Thread(target=battery.go, args=(stop,), daemon=True)
        began, memory, models = time.monotonic(), [], []
        for thread in (*clients, flapping):
            thread.start()
        while time.monotonic() < began + seconds and server.process.poll() is None:
            memory.append(server.memory())
            models.append(server.models())
            time.sleep(_SAMPLE_S)
        spent = time.monotonic() - began
        stop.set()
        for thread in (*clients, flapping):
            thread.join(150)
        if any(client.is_alive() for client in clients):
            faults.append("a client still waits for its answer")
        if server.process.poll() is not None:
            faults.append(f"the server ended by itself, with {server.process.returncode}")
            after = 0
        else:
            after = server.settled_descriptors(before)
            stopped = server.stop()
            faults += [stopped] if stopped else []
        log = server.log()
    swaps = sum(one != other for one, other in itertools.pairwise(models))
    return _report(spent, seen, memory, swaps, (before, after), began, log, faults, growth_mb)


def _report(
    spent: float, seen: Seen, memory: Sequence[int], swaps: int, descriptors: tuple[int, int], began: float, log: str,
    faults: list[str], growth_mb: float,
) -> Report:  # fmt: skip
    grown = _growth(memory) / 1e6
    first, last = _quarters(seen.latencies, began, spent)
    if grown > growth_mb:
        faults.append(f"memory grew by {grown:.1f} MB, more than {growth_mb:g}")
    if descriptors[1] > descriptors[0] + _SPARE_DESCRIPTORS:
        faults.append(f"{descriptors[1]} descriptors are open, {descriptors[0]} were before")
    if seen.failures_5xx:
        faults.append(f"{seen.failures_5xx} answers 5xx")
    if "Traceback" in log:
        faults.append("a traceback in the log")
    return Report(
        spent,
        dict(seen.kinds),
        seen.busy,
        seen.failures_5xx,
        log.count("rbe: power mode "),
        swaps,
        (memory[-1] if memory else 0) / 1e6,
        grown,
        grown * 3600 / max(1.0, spent * 0.75 * 0.75),  # from the middle of one quarter to that of the other
        _tenths(memory),
        descriptors,
        (_share(first, 0.5), _share(last, 0.5)),
        (_share(first, 0.99), _share(last, 0.99)),
        faults + seen.faults,
    )


def _growth(memory: Sequence[int]) -> float:
    """Bytes, between the medians of the first and the last quarter of what lies behind the first quarter."""
    warm = list(memory[len(memory) // 4 :])
    part = max(1, len(warm) // 4)
    return statistics.median(warm[-part:]) - statistics.median(warm[:part]) if warm else 0.0


def _tenths(memory: Sequence[int]) -> list[float]:
    """Medians, in MB."""
    ends = [round(len(memory) * part / 10) for part in range(11)]
    pieces = [memory[begin:end] for begin, end in itertools.pairwise(ends)]
    return [round(statistics.median(piece) / 1e6, 1) for piece in pieces if piece]


def _quarters(latencies: Sequence[tuple[float, float]], began: float, spent: float) -> tuple[list[float], list[float]]:
    first = [took for at, took in latencies if at - began < spent / 4]
    last = [took for at, took in latencies if at - began >= spent * 3 / 4]
    return sorted(first), sorted(last)


def _share(values: Sequence[float], share: float) -> float:
    """Milliseconds that this share of sorted seconds stays within."""
    return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--growth", type=float, default=16, help="MB that the memory may grow by behind the warm-up")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="rbe-soak-") as folder:
        report = soak(Path(folder), arguments.seconds, arguments.clients, arguments.seed, arguments.growth)
    told: Any = report.__dict__
    print(json.dumps(told) if arguments.json else "\n".join(report.lines()), flush=True)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
