"""Presses Ctrl-C at random moments of the commands of `rbe`, and proves that each press is obeyed.

    python tools/interrupts.py [MODEL] [--source SOURCE] [--presses 20] [--seconds 6] [--seed 1] [--only run,pack]

MODEL is a .rbe file (the demo model), SOURCE what it was packed from, which `tune` needs it to be; without one, `pack`,
`fit` and `tune` are left out. A process is started, SIGINT comes after a random time, to what it started too, as from a
terminal, and it has to end by itself. Half of the moments lie in the first quarter of SECONDS, or of the time that the
command was seen to take, where that is less. `chat` runs in a terminal of its own: a press stops the answer, and
another question is asked, a few times; one press more ends the process. `client`, the full-screen one, does too: the
first press stops the answer, the next one asks, and the third at the latest ends it. `serve` answers a request
meanwhile; the first press lets that answer end, the second does not.

Prints a table in Markdown: for each command how many presses were obeyed and how long they took, beside the load of the
machine (the mean of a minute, at the end). Exits with 1 where one was not obeyed, or anything of Python was shown (a
traceback, an exception that is ignored). What Python itself shows while it starts, before a line of this package runs,
is counted as early; a press behind the end of a command as late. Neither counts as obeyed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 30.0
"""A press that is not obeyed by then never is."""

PROGRAM = [sys.executable, "-m", "rbe_edge"]

_OURS = re.compile(rb'rbe_edge/[^"]+", line \d+, in [^<]')  # a function of this package has begun
_SHOWN = (b"Traceback", b"Exception ignored", b"KeyboardInterrupt", b"Error in sys.excepthook")
_PROMPT = "Tell me all that you know about batteries, at length."
DEMO = Path(__file__).resolve().parent.parent / "rbe_edge" / "demo" / "demo.rbe"


@dataclass
class Outcome:
    """Of the presses of one command. seconds: from a press to its end, of those that were obeyed. early: where Python
    itself was starting. late: where the command had ended before."""

    seconds: list[float] = field(default_factory=list)
    early: int = 0
    late: int = 0
    faults: list[str] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Under HEADING."""
        times = sorted(self.seconds)
        marks = [times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.99, 1)] if times else []
        counts = [sum(seconds > 0.2 for seconds in times), self.early, self.late, len(self.faults)]
        spans = [f"{1e3 * seconds:.0f} ms" for seconds in marks] or ["", "", ""]
        return f"| {' | '.join([name, str(len(times)), *spans, *map(str, counts), f'{os.getloadavg()[0]:.1f}'])} |"


HEADING = """\
| command | obeyed | half within | 99 % within | longest | over 200 ms | early | late | faults | load |
|---|---|---|---|---|---|---|---|---|---|"""


@dataclass
class Moments:
    """When to press: seconds after the start, seconds at the latest. last: the one that came last."""

    chance: random.Random
    seconds: float
    last: float = 0.0

    def next(self) -> float:
        self.last = self.chance.random() * self.chance.choice((0.25, 1.0)) * self.seconds
        return self.last


@dataclass(frozen=True)
class Trial:
    """seconds: the latest moment of a press, from the start of the process."""

    model: Path
    source: Path | None
    directory: Path
    seconds: float

    @property
    def environment(self) -> dict[str, str]:
        kept = {"XDG_CACHE_HOME": str(self.directory / "cache"), "XDG_DATA_HOME": str(self.directory / "data")}
        return {**os.environ, **kept, "TERM": "dumb"}

    def text(self) -> Path:
        """Prose for eval and tune."""
        path = self.directory / "text.txt"
        if not path.exists():
            path.write_text("A battery holds energy. Heat is bad for it, and so is a long time at full charge. " * 400)
        return path

    def commands(self) -> dict[str, list[str]]:
        """By name, the command line of each."""
        model, text = str(self.model), str(self.text())
        found = {
            "run": ["run", model, "--raw", "--sinks", "4", "-p", _PROMPT, "-n", "9000", "--temp", "1"],
            "piped": ["run", model, "--raw", "-p", _PROMPT, "-n", "9000", "--temp", "1"],
            "pipe": ["chat", model, "-n", "4000", "--temp", "1"],
            "chat": ["chat", model, "--plain", "-n", "4000", "--temp", "1"],
            "client": ["chat", model, "-n", "4000", "--temp", "1", "--new"],
            "eval": ["eval", model, "--text", text, "--window", "256"],
            "embed": ["embed", model, "-", "--pooling", "mean"],
            "modes": ["eval", model, "--text", text, "--power", "all"],
            "bench": ["bench", model, "--workloads", "pp128,tg64@64"],
            "serve": ["serve", model, "--port", "0", "--json"],
            "inspect": ["inspect", model, "--tensors", "--verify"],
            "list": ["list", "--json"],
            "doctor": ["doctor"],
            "pull": ["pull", "--json"],
            "report": ["report", "extremes", "--json"],
        }
        if self.source is not None:
            out = str(self.directory / "out.rbe")
            found["pack"] = ["pack", str(self.source), "-o", out, "--bits", "4", "--force"]
            found["quick"] = ["pack", str(self.source), "-o", out, "--bits", "3", "--effort", "quick", "--force"]
            found["fit"] = ["fit", str(self.source), "--bits", "4"]
            tuned = str(self.directory / "tuned.rbe")
            found["tune"] = ["tune", model, "--source", str(self.source), "--text", text, "-o", tuned, "--force"]
        return found


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Its exit code, or None where it still runs after so long. Popen.wait() looks 20 times a second only."""
    end = time.monotonic() + seconds
    while (code := process.poll()) is None and time.monotonic() < end:
        time.sleep(0.001)
    return code


def press(process: subprocess.Popen[bytes], outcome: Outcome, told: Sequence[Path], codes: tuple[int, ...]) -> None:
    """One press on what runs, and what comes of it. told: files that hold what it wrote."""
    if process.poll() is not None:
        outcome.late += 1
        return
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code = ended(process, PATIENCE_S)
    seconds = time.monotonic() - began
    process.kill()
    process.wait()
    written = b"".join(path.read_bytes() for path in told)
    shown = [word.decode() for word in _SHOWN if word in written]
    if shown and not _OURS.search(written):  # also where Python went on
        outcome.early += 1
    elif code is None:
        outcome.faults.append(f"not obeyed within {PATIENCE_S:g} s: {written[-500:].decode(errors='replace')}")
    elif shown:
        outcome.faults.append(f"shows {shown[0]}: {written[-1500:].decode(errors='replace')}")
    elif code in codes:
        outcome.seconds.append(seconds)
    elif code == 0:
        outcome.late += 1
    else:
        outcome.faults.append(f"exit code {code}: {written[-500:].decode(errors='replace')}")


@contextmanager
def started(trial: Trial, arguments: Sequence[str], stdin: int) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """The process, and the files that its output and its errors go into."""
    out, errors = trial.directory / "out.txt", trial.directory / "err.txt"
    with out.open("wb") as output, errors.open("wb") as told:
        process = subprocess.Popen(
            [*PROGRAM, *arguments], env=trial.environment, cwd=trial.directory,
            stdin=stdin, stdout=output, stderr=told, start_new_session=True,
        )  # fmt: skip
        try:
            yield process, out, errors
        finally:
            process.kill()
            process.wait()


def press_plain(
    trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome, input: bytes = b"", open: bool = False
) -> None:
    """Of a command that ends at the first press. input: what stands on its standard input. open: whether that stays
    open, so that more may come."""
    reading, writing = os.pipe()
    try:
        os.write(writing, input)
        if not open:
            os.close(writing)
        with started(trial, arguments, reading) as (process, out, errors):
            ended(process, after)
            press(process, outcome, [out, errors], (130, -signal.SIGINT))
    finally:
        os.close(reading)
        if open:
            os.close(writing)


class Terminal:
    """A process in a terminal of its own, of 80 columns and 24 lines. shown: all that it wrote."""

    def __init__(self, trial: Trial, arguments: Sequence[str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.shown = bytearray()
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], env={**trial.environment, "TERM": "xterm-256color"}, cwd=trial.directory,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._ours, 4096):
                self.shown.extend(piece)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(1)
        os.close(self._ours)

    def press(self, press: Callable[[], object], signs: Sequence[bytes]) -> float | None:
        """Presses. The seconds until one of the signs is shown, or the process has ended; None where neither came."""
        before, began = len(self.shown), time.monotonic()
        press()
        while time.monotonic() - began < PATIENCE_S:
            if self.process.poll() is not None or any(sign in self.shown[before:] for sign in signs):
                return time.monotonic() - began
            time.sleep(0.002)
        return None

    def settle(self, outcome: Outcome, seconds: list[float]) -> None:
        """Counts what came of presses that took so many seconds each. The last one has ended the process."""
        self._reader.join(0.05)
        text, code = bytes(self.shown), self.process.poll()
        if any(word in text for word in _SHOWN):
            if _OURS.search(text):
                outcome.faults.append(f"shows {text[-1500:].decode(errors='replace')}")
            else:
                outcome.early += 1
        elif code in (130, -signal.SIGINT):
            outcome.seconds.extend(seconds)
        elif code is None:
            outcome.faults.append(f"not ended, {len(seconds)} presses were obeyed: {text[-300:]!r}")
        else:
            outcome.faults.append(f"exit code {code}: {text[-500:]!r}")


def _own_terminal() -> None:
    """In the child: its standard input is the terminal that Ctrl-C reaches it through."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


_TURNS = 4


def press_chat(trial: Trial, arguments: Sequence[str], moments: Moments, outcome: Outcome) -> None:
    """In a terminal of its own. A press before the first prompt ends the process; one behind a question stops the
    answer, and a press behind that ends the process, unless something is said before."""
    terminal = Terminal(trial, arguments)
    process, seconds = terminal.process, []
    try:
        for turn in range(_TURNS + 1):
            if turn < _TURNS:
                terminal.type(_PROMPT.encode() + b"\n")
                ended(process, moments.next())
            if process.poll() is None:
                taken = terminal.press(lambda: os.killpg(process.pid, signal.SIGINT), [b"to leave"][: _TURNS - turn])
                if taken is None:
                    break
                seconds.append(taken)
            if process.poll() is not None:
                break
        terminal.settle(outcome, seconds)
    finally:
        terminal.close()


def press_client(trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome) -> None:
    """The key, as a terminal sends it. Each press has to show that it was taken, or to end the process; the third at
    the latest ends it."""
    terminal = Terminal(trial, arguments)
    process, seconds = terminal.process, []
    try:
        begun, asked = time.monotonic(), False
        while time.monotonic() - begun < after and process.poll() is None:
            if not asked and b"omething. Enter sends" in terminal.shown:
                asked = True
                terminal.type(_PROMPT.encode() + b"\r")
            time.sleep(0.005)
        signs = [b"stopping", b"Stopped.", b"again quits"]
        for _ in range(3):
            before = len(terminal.shown)
            taken = terminal.press(lambda: terminal.type(b"\x03"), signs)
            if taken is None:
                break
            seconds.append(taken)
            if process.poll() is not None:
                break
            warned = b"again quits" in terminal.shown[before:]
            signs = [] if warned else [b"again quits"]  # what an answer that stops shows may come late
        terminal.settle(outcome, seconds)
    finally:
        terminal.close()


def press_serve(trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome) -> None:
    """While it answers, where it has come so far: the first press waits for the answer, the second does not."""
    with started(trial, arguments, subprocess.DEVNULL) as (process, out, errors):
        end = time.monotonic() + after
        asking: threading.Thread | None = None
        while time.monotonic() < end and process.poll() is None:
            if asking is None and (line := out.read_text()).endswith("\n"):
                asking = threading.Thread(target=_ask, args=(json.loads(line)["url"],), daemon=True)
                asking.start()
            time.sleep(0.005)
        if asking is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            ended(process, 0.3)
        if process.poll() is None:
            press(process, outcome, [out, errors], (0, 130, -signal.SIGINT))


def _ask(url: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 2000, "temperature": 1})
    request = urllib.request.Request(f"{url}/chat/completions", body.encode(), {"Content-Type": "application/json"})
    with suppress(OSError):
        urllib.request.urlopen(request, timeout=60).read()


def run(trial: Trial, name: str, presses: int, chance: random.Random) -> Outcome:
    """Presses one of Trial.commands() until so many presses were obeyed, or four times as often has not sufficed."""
    outcome, arguments = Outcome(), trial.commands()[name]
    moments = Moments(chance, trial.seconds)
    texts = {"pipe": f"{_PROMPT}\n".encode(), "piped": trial.text().read_bytes()[:2000]}
    texts["embed"] = b"A battery.\n" * 5000  # what fits into a pipe
    for _ in range(4 * presses):
        if len(outcome.seconds) >= presses or len(outcome.faults) >= presses:
            break
        late = outcome.late
        if name == "chat":
            press_chat(trial, arguments, moments, outcome)
        elif name == "client":
            press_client(trial, arguments, moments.next(), outcome)
        elif name == "serve":
            press_serve(trial, arguments, moments.next(), outcome)
        else:
            press_plain(trial, arguments, moments.next(), outcome, texts.get(name, b""), name == "pipe")
        if outcome.late > late:
            moments.seconds = moments.last  # it has ended before
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DEMO)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--presses", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have made this deaf, and so all it starts
    faults = 0
    with tempfile.TemporaryDirectory(prefix="interrupts-") as directory:
        source = None if arguments.source is None else arguments.source.absolute()
        trial = Trial(arguments.model.absolute(), source, Path(directory), arguments.seconds)
        print(HEADING, flush=True)
        for name in arguments.only.split(",") if arguments.only else trial.commands():
            outcome = run(trial, name, arguments.presses, random.Random(f"{arguments.seed} {name}"))
            print(outcome.row(name), flush=True)
            for fault in outcome.faults:
                print(f"{name}: {fault}", file=sys.stderr, flush=True)
            faults += len(outcome.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
