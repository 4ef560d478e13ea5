"""`rbe bench --power`: each mode under the same harness, beside each other and beside llama.cpp.

A mode is pinned by the governor's override, so threads, planes and layers are those of the mode; its session has the
cache type of the mode. docs/power.md, "The benchmark", says what the numbers are worth.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rbe_edge.bench.decoders import OwnDecoder, PeerDecoder
from rbe_edge.bench.joules import Joules, between, mark
from rbe_edge.bench.mode_run import PROMPT_SHARE, ModeRun, Quality, Recorder, Setup, is_warmer
from rbe_edge.bench.promise import Promise, measure_promise
from rbe_edge.errors import Cancelled, OptionError, RbeError
from rbe_edge.llama_cpp.peer import Llama
from rbe_edge.machine.hardware import Machine
from rbe_edge.machine.power import Mode, Power
from rbe_edge.machine.process import is_busy, resident_bytes
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.governor import Governor
from rbe_edge.runtime.model import Model

SECONDS = 60.0
IDLE_S = 30.0
MOST_SECONDS = 7 * 24 * 3600.0
NOT_MEASURED = "not measured: rbe eval --power all"
_PROMISE_SHARE = 1 / 6  # of the time of a mode


@dataclass(frozen=True)
class Plan:
    """seconds: of tokens, for each mode; prompts take a quarter of that before. idle_s: of the baseline. prompt_tokens,
    answer_tokens: None: 128, or a quarter of a shorter context. threads: of performance, 0 for one per fast core."""

    modes: Sequence[Mode]
    seconds: float = SECONDS
    idle_s: float = IDLE_S
    threads: int = 0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MOST_SECONDS:
            raise OptionError("a mode is measured for some seconds, and a week at most; change --seconds or --minutes")
        if not 0 <= self.idle_s <= 3600:
            raise OptionError(f"--idle is from 0 to 3600 seconds, not {self.idle_s:g}")
        if not self.modes or len(set(self.modes)) != len(self.modes):
            raise OptionError("give each mode of --power once")

    @property
    def mode_s(self) -> float:
        return (1 + PROMPT_SHARE) * self.seconds


@dataclass(frozen=True)
class Peer:
    """llama.cpp with a file of the same shape. name: the type of its weights. n_bytes: of the file."""

    name: str
    path: Path

    @property
    def n_bytes(self) -> int:
        return self.path.stat().st_size


@dataclass
class PowerReport:
    """Everything that was measured. idle: None where nothing measures energy, and no baseline was taken. promises: by
    name of mode. threads: of performance. stopped: Ctrl-C ended it before its time. notes: what to know of this run."""

    machine: Machine
    model: str
    kernels: str
    file_bytes: int
    idle: Joules | None = None
    runs: list[ModeRun] = field(default_factory=list)
    promises: dict[str, Promise] = field(default_factory=dict)
    threads: int = 0
    stopped: bool = False
    notes: list[str] = field(default_factory=list)


class Schedule:
    """How far it all is, in seconds of a clock, so that what is left is what it will take."""

    def __init__(self, listener: Listener, total: float) -> None:
        self._progress = Progress(listener, total=max(1, round(10 * total)))
        self._total = total
        self._done = 0.0

    def tell(self, what: str, seconds: float) -> None:
        """So much of the present piece is done. Raises Cancelled where the listener returns True."""
        self._progress.tell(what, round(10 * min(self._done + seconds, self._total)))

    def finish(self, seconds: float) -> None:
        """A piece that was to take so long is over."""
        self._done += seconds


def measure_modes(
    model: Model, report: PowerReport, plan: Plan, power: Power, listener: Listener, peers: Sequence[Peer] = ()
) -> None:
    """Fills the report. power: opened and started by the caller. Ctrl-C and a listener that returns True end it early:
    the report then has what was measured so far, and says so."""
    readable = _is_readable(power)
    efforts = _efforts(model, plan.modes)
    promise_s = _PROMISE_SHARE * plan.seconds
    idle_s = plan.idle_s if readable else 0.0
    total = idle_s + plan.mode_s * (len(plan.modes) + len(peers)) + promise_s * len(efforts)
    schedule = Schedule(listener, total)
    if is_busy():
        report.notes.append("other work kept this machine busy; measure again when it is quiet")
    try:
        if idle_s:
            report.idle = _idle(power, idle_s, schedule)
        for mode in plan.modes:
            _mode(model, report, mode, plan, power, schedule)
        for peer in peers:
            try:
                _peer(model, report, peer, plan, power, schedule)
            except Cancelled:
                raise
            except RbeError as error:  # the other program's fault, which is no reason to lose what was measured
                report.notes.append(f"llama.cpp {peer.name} failed: {error}")
                schedule.finish(plan.mode_s)
        for name, effort in efforts.items():
            words = f"{name} beside all planes"

            def told(seconds: float, words: str = words) -> None:
                schedule.tell(words, seconds)

            found = measure_promise(model, effort, plan.threads, promise_s, told)
            schedule.finish(promise_s)
            if found is not None:
                report.promises[name] = found
    except (Cancelled, KeyboardInterrupt):
        report.stopped = True
    report.notes += [
        f"{run.setup.name} began 3 C or more warmer than {report.runs[0].setup.name}; let it cool and measure again"
        for run in report.runs[1:]
        if is_warmer(run, report.runs[0])
    ]


def _is_readable(power: Power) -> bool:
    """Whether something measures energy. A source of watts has to be read first, by the thread that was just begun."""
    for _ in range(5):
        if power.energy().readable or not power.sources():
            break
        time.sleep(0.1)
    return power.energy().readable


def _efforts(model: Model, modes: Sequence[Mode]) -> dict[str, Effort]:
    """Of those that read less than all, by name."""
    efforts = {mode.label: effort for mode in modes if (effort := model.effort(mode)) is not None}
    return {name: effort for name, effort in efforts.items() if model.read_bytes(effort) < model.read_bytes()}


def _idle(power: Power, seconds: float, schedule: Schedule) -> Joules:
    """Of this machine with the model open and nothing to do."""
    begin = mark(power)
    while (spent := time.monotonic() - begin.seconds) < seconds:
        schedule.tell("idle", spent)
        time.sleep(min(0.2, seconds - spent))
    schedule.finish(seconds)
    return between(begin, mark(power))


def _sizes(model: Model, plan: Plan) -> tuple[int, int]:
    """Tokens of a prompt and of an answer. Raises OptionError where the context is too short."""
    usual = max(1, min(128, model.info.context // 4))
    prompt, answer = plan.prompt_tokens or usual, plan.answer_tokens or usual
    if min(prompt, answer) < 1 or prompt + answer > model.info.context:
        raise OptionError(f"the model's context of {model.info.context} tokens has no room for {prompt} + {answer}")
    return prompt, answer


def _mode(model: Model, report: PowerReport, mode: Mode, plan: Plan, power: Power, schedule: Schedule) -> None:
    prompt, answer = _sizes(model, plan)
    with (
        model.session(context=prompt + answer, threads=plan.threads, kv="auto") as session,
        Governor(model) as governor,
    ):
        recorder = Recorder(power)
        report.threads = session.info.threads
        governor.override(mode)
        governor.govern(session)
        decoder = OwnDecoder(session, prompt, answer)
        try:
            recorder.run(decoder, plan.seconds, lambda seconds: schedule.tell(mode.label, seconds))
        finally:
            info = session.info
            quality, why, note = _quality(model, mode)
            n_bytes = model.read_bytes(model.effort(mode))
            setup = Setup(
                "rbe", mode.label, info.threads, info.kv, prompt, answer, n_bytes, quality, why, note,
                info.arena_bytes, info.kv_bytes,
            )  # fmt: skip
            _add(report, recorder.result(setup, resident_bytes()))
    schedule.finish(plan.mode_s)


def _add(report: PowerReport, run: ModeRun) -> None:
    if run.prompt_s:  # else nothing was measured before it was stopped
        report.runs.append(run)


def _quality(model: Model, mode: Mode) -> tuple[Quality | None, str, str]:
    """Of the file's table, why there is none, and what the table says of the mode."""
    table = model.modes
    if table is None:
        return None, NOT_MEASURED, ""
    row = table.modes[mode]
    if row.n_tokens == 0:
        return None, NOT_MEASURED, row.reason
    return Quality(row.perplexity, row.kl, row.kl_error, row.top1, table.against, table.text), "", row.reason


def _peer(model: Model, report: PowerReport, peer: Peer, plan: Plan, power: Power, schedule: Schedule) -> None:
    prompt, answer = _sizes(model, plan)
    with Llama(peer.path, prompt + answer, report.threads) as llama:
        recorder = Recorder(power)
        try:
            told = f"llama.cpp {peer.name}"
            recorder.run(PeerDecoder(llama, prompt, answer), plan.seconds, lambda spent: schedule.tell(told, spent))
        finally:
            why = "weights are random"
            setup = Setup("llama.cpp", peer.name, report.threads, "f16", prompt, answer, peer.n_bytes, None, why)
            _add(report, recorder.result(setup, None))
    schedule.finish(plan.mode_s)
