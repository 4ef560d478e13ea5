"""Presses Ctrl-C at random moments of the commands of `rbe`, and proves that each press is obeyed.

    python tools/interrupts.py [MODEL] [--source SOURCE] [--presses 20] [--seconds 6] [--seed 1] [--only run,pack]

MODEL is a .rbe file (the demo model), SOURCE what it was packed from, which `tune` needs it to be; without one, `pack`,
`fit` and `tune` are left out. Each press is one process: it is started, SIGINT comes after a random time, to what it
started too, as from a terminal, and it has to end by itself. Half of the moments lie in the first quarter of the time.
`chat` runs in a terminal of its own: the first press stops the answer, the second ends the process. `client`, the
full-screen one, does too: the first press stops the answer, the next one asks, and the third at the latest ends it.
`serve` answers a request meanwhile; the first press lets that answer end, the second does not.

Prints for each command how long the presses took to be obeyed, and exits with 1 where one was not obeyed, or anything
of Python was shown (a traceback, an exception that is ignored). What Python itself shows while it starts, before a line
of this package runs, is counted beside.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 30.0
"""A press that is not obeyed by then never is."""

PROGRAM = [sys.executable, "-m", "rbe_edge"]

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

    def line(self, name: str) -> str:
        if not self.seconds:
            return f"{name:8} no press came in time ({self.late} too late)"
        times = sorted(self.seconds)
        marks = [times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.9, 0.99)]
        texts = "  ".join(f"{what} {1e3 * s:6.0f} ms" for what, s in zip(("half", "90 %", "99 %"), marks, strict=True))
        slow = sum(s > 0.2 for s in times)
        return (
            f"{name:8} {len(times):4} obeyed  {texts}  longest {1e3 * times[-1]:6.0f} ms  over 200 ms {slow:3}  "
            f"early {self.early:2}  late {self.late:2}  faults {len(self.faults)}"
        )


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
            "pipe": ["chat", model, "-n", "4000", "--temp", "1"],
            "chat": ["chat", model, "--plain", "-n", "4000", "--temp", "1"],
            "client": ["chat", model, "-n", "4000", "--temp", "1", "--new"],
            "eval": ["eval", model, "--text", text, "--window", "256"],
            "modes": ["eval", model, "--text", text, "--power", "all"],
            "bench": ["bench", model, "--workloads", "pp128,tg64@64"],
            "serve": ["serve", model, "--port", "0", "--json"],
            "inspect": ["inspect", model, "--tensors", "--verify"],
            "list": ["list", "--json"],
            "doctor": ["doctor"],
        }
        if self.source is not None:
            out = str(self.directory / "out.rbe")
            found["pack"] = ["pack", str(self.source), "-o", out, "--bits", "4", "--force"]
            found["quick"] = ["pack", str(self.source), "-o", out, "--bits", "3", "--effort", "quick", "--force"]
            found["fit"] = ["fit", str(self.source), "--bits", "4"]
            tuned = str(self.directory / "tuned.rbe")
            found["tune"] = ["tune", model, "--source", str(self.source), "--text", text, "-o", tuned, "--force"]
        return found


def press(process: subprocess.Popen[bytes], outcome: Outcome, told: Sequence[Path], codes: tuple[int, ...]) -> None:
    """One press on what runs, and what comes of it. told: files that hold what it wrote."""
    if process.poll() is not None:
        outcome.late += 1
        return
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    try:
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        outcome.faults.append(f"not obeyed within {PATIENCE_S:g} s")
        process.kill()
        process.wait()
        return
    seconds = time.monotonic() - began
    written = b"".join(path.read_bytes() for path in told)
    shown = [word.decode() for word in _SHOWN if word in written]
    if shown and b"rbe_edge/cli" not in written:
        outcome.early += 1
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


def press_plain(trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome, input: bytes = b"") -> None:
    """Of a command that ends at the first press. input: what stands on its standard input, which stays open."""
    reading, writing = os.pipe()
    try:
        os.write(writing, input)
        if not input:  # nobody writes: what is waited for is the work, not a text
            os.close(writing)
            writing = -1
        with started(trial, arguments, reading) as (process, out, errors):
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            press(process, outcome, [out, errors], (130, -signal.SIGINT))
    finally:
        os.close(reading)
        if writing >= 0:
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

    def judge(self, outcome: Outcome) -> bool:
        """Whether something of Python's was shown, which is counted."""
        self._reader.join(0.05)
        text = bytes(self.shown)
        if not any(word in text for word in _SHOWN):
            return False
        if b"rbe_edge/cli" in text:
            outcome.faults.append(f"shows {text[-1500:].decode(errors='replace')}")
        else:
            outcome.early += 1
        return True


def _own_terminal() -> None:
    """In the child: its standard input is the terminal that Ctrl-C reaches it through."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def press_chat(trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome) -> None:
    """In a terminal of its own. A press before the prompt ends the process; one behind the question stops the answer,
    and the next one ends the process."""
    terminal = Terminal(trial, arguments)
    process = terminal.process
    try:
        terminal.type(_PROMPT.encode() + b"\n")
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        before, began = len(terminal.shown), time.monotonic()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            while process.poll() is None and time.monotonic() - began < PATIENCE_S:
                if b"to leave" in terminal.shown[before:]:
                    break
                time.sleep(0.002)
        seconds = time.monotonic() - began
        if process.poll() is None:
            if b"to leave" in terminal.shown[before:]:
                outcome.seconds.append(seconds)
            press(process, outcome, [], (130,))
        elif process.returncode in (130, -signal.SIGINT):
            outcome.seconds.append(seconds)
        terminal.judge(outcome)
    finally:
        terminal.close()


_CLIENT_SHOWS = (b"stopping", b"Stopped.", b"again quits")


def press_client(trial: Trial, arguments: Sequence[str], after: float, outcome: Outcome) -> None:
    """The key, as a terminal sends it. Each press has to show that it was taken, or to end the process; the third at
    the latest ends it."""
    terminal = Terminal(trial, arguments)
    process = terminal.process
    try:
        begun, asked = time.monotonic(), False
        while time.monotonic() - begun < after and process.poll() is None:
            if not asked and b"Say something" in terminal.shown:
                asked = True
                terminal.type(_PROMPT.encode() + b"\r")
            time.sleep(0.005)
        warned = False  # that the next press ends it
        for _ in range(3):
            before, began = len(terminal.shown), time.monotonic()
            terminal.type(b"\x03")
            while process.poll() is None and time.monotonic() - began < PATIENCE_S:
                shown = terminal.shown[before:]
                if not warned and any(word in shown for word in _CLIENT_SHOWS):
                    warned = b"again quits" in shown
                    break
                time.sleep(0.002)
            outcome.seconds.append(time.monotonic() - began)
            if process.poll() is not None:
                break
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.poll() is None:
            outcome.faults.append(f"not ended by three presses: {bytes(terminal.shown[-300:])!r}")
        elif not terminal.judge(outcome) and process.returncode not in (130, -signal.SIGINT):
            outcome.faults.append(f"exit code {process.returncode}: {bytes(terminal.shown[-500:])!r}")
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
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
        if process.poll() is None:
            press(process, outcome, [out, errors], (0, 130, -signal.SIGINT))


def _ask(url: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 2000, "temperature": 1})
    request = urllib.request.Request(f"{url}/chat/completions", body.encode(), {"Content-Type": "application/json"})
    with suppress(OSError):
        urllib.request.urlopen(request, timeout=60).read()


def run(trial: Trial, name: str, presses: int, chance: random.Random) -> Outcome:
    """So many presses of one of Trial.commands()."""
    outcome, arguments = Outcome(), trial.commands()[name]
    for _ in range(presses):
        after = chance.random() * chance.choice((0.25, 1.0)) * trial.seconds
        if name == "chat":
            press_chat(trial, arguments, after, outcome)
        elif name == "client":
            press_client(trial, arguments, after, outcome)
        elif name == "serve":
            press_serve(trial, arguments, after, outcome)
        else:
            press_plain(trial, arguments, after, outcome, f"{_PROMPT}\n".encode() if name == "pipe" else b"")
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
        for name in arguments.only.split(",") if arguments.only else trial.commands():
            outcome = run(trial, name, arguments.presses, random.Random(f"{arguments.seed} {name}"))
            print(outcome.line(name), flush=True)
            for fault in outcome.faults:
                print(f"  {fault}", flush=True)
            faults += len(outcome.faults)
    print(f"{faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
