"""`rbe bench --battery-trace`: a discharge replayed while a text is generated, the policy deciding on modes.

A trace is a file of lines `seconds percent [charging] [celsius]`; charging is 0 or 1, # begins a comment. The sensors
are the trace alone: what it does not say is unknown. Times may be scaled: the policy's own seconds are scaled with
them.
"""

from __future__ import annotations

import bisect
import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rbe_edge.bench.power import Schedule
from rbe_edge.bench.workloads import arbitrary_tokens
from rbe_edge.errors import Cancelled, OptionError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.machine.power import Feed, Policy, Power
from rbe_edge.progress import Listener
from rbe_edge.runtime.governor import Governor
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.runtime.session import Session

MOST_BYTES = 4 << 20
MOST_SPEED = 1e5
_LAST_S = 2.1  # of this clock: the last point is to be seen, and sensors are read once a second
_FEED_S = 0.1
_CONTEXT = 512
_SINKS = 4
_PROMPT = 16


@dataclass(frozen=True)
class Point:
    """charging, celsius: None where the trace does not say; without a word the machine lives on its battery."""

    seconds: float
    percent: float
    charging: bool = False
    celsius: float | None = None


@dataclass(frozen=True)
class Switch:
    """trace_s: time of the trace; run_s: of this clock since the beginning. n_tokens: that were there before. kept:
    whether the context then held the text so far, but for what a full context lets go of."""

    trace_s: float
    run_s: float
    mode: str
    reason: str
    n_tokens: int
    kept: bool


@dataclass(frozen=True)
class Span:
    """What was generated between two switches."""

    mode: str
    seconds: float
    n_tokens: int

    @property
    def rate(self) -> float | None:
        return self.n_tokens / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Replay:
    """spans: one more than switches. longest_gap_s: the longest time without a token. unseen: points of the trace that
    lay nearer to the next one than sensors are read. complete: False where it was stopped before the trace's end."""

    model: str
    speed: float
    trace_s: float
    spans: Sequence[Span]
    switches: Sequence[Switch]
    longest_gap_s: float
    unseen: int
    complete: bool

    @property
    def n_tokens(self) -> int:
        return sum(span.n_tokens for span in self.spans)

    @property
    def kept(self) -> bool:
        """Whether no switch touched the text before it."""
        return all(switch.kept for switch in self.switches)

    def rates(self) -> dict[str, tuple[int, float, float]]:
        """By mode: tokens, seconds, tokens/s."""
        found: dict[str, tuple[int, float, float]] = {}
        for name in dict.fromkeys(span.mode for span in self.spans):
            tokens = sum(span.n_tokens for span in self.spans if span.mode == name)
            seconds = math.fsum(span.seconds for span in self.spans if span.mode == name)
            found[name] = (tokens, seconds, tokens / seconds if seconds > 0 else 0.0)
        return found


def read_trace(path: Path) -> list[Point]:
    """Raises OptionError, with the line that is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MOST_BYTES:
        raise OptionError(f"{path} is larger than {MOST_BYTES >> 20} MB; give fewer points")
    points: list[Point] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            points.append(_point(words, f"{path}, line {number}"))
            if len(points) > 1 and points[-1].seconds <= points[-2].seconds:
                raise OptionError(f"{path}, line {number}: its time is not behind that of the line before")
    if len(points) < 2:
        raise OptionError(f"{path} has {len(points)} points; give two lines `seconds percent [charging] [celsius]`")
    return points


def _point(words: Sequence[str], where: str) -> Point:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 4:
        raise OptionError(f"{where}: not `seconds percent [charging] [celsius]`")
    seconds, percent, charging, celsius = *numbers, *(0.0, math.nan)[len(numbers) - 2 :]
    good = 0 <= seconds <= 1e8 and 0 <= percent <= 100 and charging in (0, 1)
    if not good or not (len(numbers) < 4 or -40 <= celsius <= 125):
        raise OptionError(f"{where}: seconds from 0 on, 0 to 100 percent, charging 0 or 1, -40 to 125 C")
    return Point(seconds, percent, charging == 1, celsius if len(numbers) == 4 else None)


class _Feeder:
    """Tells the sensors what the trace says now, from a thread of its own. A context manager."""

    def __init__(self, power: Power, points: Sequence[Point], speed: float) -> None:
        self._power = power
        self._points = points
        self._times = [point.seconds for point in points]
        self._speed = speed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed_on, name="rbe-battery-trace", daemon=True)
        self.began = time.monotonic()

    def __enter__(self) -> _Feeder:
        self.began = time.monotonic()
        self._feed()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def trace_s(self) -> float:
        """The time of the trace that it is now, at most that of its last point."""
        return min(self._times[-1], self._times[0] + self._speed * (time.monotonic() - self.began))

    def _feed_on(self) -> None:
        while not self._ended.wait(_FEED_S):
            self._feed()

    def _feed(self) -> None:
        point = self._points[max(0, bisect.bisect_right(self._times, self.trace_s) - 1)]
        self._power.feed(Feed.BATTERY_LEVEL, point.percent / 100)
        self._power.feed(Feed.CHARGING, float(point.charging))
        if point.celsius is not None:
            self._power.feed(Feed.TEMPERATURE_C, point.celsius)


class _Text:
    """A text that never ends, the likeliest token always; what it generated so far, and when."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sampler = Sampler(session.model.info.vocabulary, SamplingOptions())
        self.tokens: list[int] = arbitrary_tokens(_PROMPT, session.model.info.vocabulary)
        self.longest_gap_s = 0.0
        session.prefill(self.tokens)
        self._last = time.monotonic()

    def close(self) -> None:
        self._sampler.close()

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - _PROMPT

    def step(self) -> None:
        with self._session.logits_pointer() as logits:
            token = self._sampler.draw(logits)
        self._session.prefill((token,))
        self.tokens.append(token)
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - self._last)
        self._last = now

    def is_kept(self) -> bool:
        """Whether the context holds the first tokens and the latest ones, as they were generated."""
        held = list(self._session.tokens)
        latest = held[_SINKS:]
        return held[:_SINKS] == self.tokens[:_SINKS] and latest == self.tokens[len(self.tokens) - len(latest) :]


def scaled(policy: Policy, speed: float) -> Policy:
    """The same policy for a clock that goes `speed` times as fast."""
    return replace(policy, least_seconds=policy.least_seconds / speed, charger_seconds=policy.charger_seconds / speed)


def replay(
    model: Model, points: Sequence[Point], listener: Listener, *, policy: Policy, speed: float = 1.0, threads: int = 0
) -> Replay:
    """Takes the trace's time through `speed`, and two seconds. Ctrl-C ends it early, and what was there is returned.
    Raises OptionError for a speed that is out of range, and for models with learned positions, whose context cannot
    slide."""
    if not 0.01 <= speed <= MOST_SPEED:
        raise OptionError(f"--trace-speed is from 0.01 to {MOST_SPEED:g}, not {speed:g}")
    lines: list[str] = []
    with (
        scratch_directory("bench") as nothing,  # a machine that has no sensors of its own
        Power(str(nothing)) as power,
        Governor(model, power, scaled(policy, speed), log=lines.append) as governor,
        model.session(context=min(_CONTEXT, model.info.context), threads=threads, kv="auto", sinks=_SINKS) as session,
        _Feeder(power, points, speed) as feeder,
    ):
        governor.govern(session)
        text = _Text(session)
        try:
            return _generate(model, governor, feeder, text, lines, points, speed, listener)
        finally:
            text.close()


def _generate(
    model: Model,
    governor: Governor,
    feeder: _Feeder,
    text: _Text,
    lines: list[str],
    points: Sequence[Point],
    speed: float,
    listener: Listener,
) -> Replay:
    duration = (points[-1].seconds - points[0].seconds) / speed + _LAST_S
    schedule = Schedule(listener, duration)
    spans: list[Span] = []
    switches: list[Switch] = []
    mode, begin, first, told = governor.info.mode.label, time.monotonic(), 0, 0.0
    complete = True
    try:
        while (spent := time.monotonic() - feeder.began) < duration:
            if spent - told > _FEED_S:
                told = spent
                schedule.tell(f"battery trace, {mode}", spent)
            count, now = text.n_generated, time.monotonic()
            text.step()
            for line in lines:  # before the token that it just made
                name, _, reason = line.partition(": ")
                if name not in MODE_NAMES:  # of a wait
                    continue
                spans.append(Span(mode, now - begin, count - first))
                mode = name
                begin, first = now, count
                switches.append(Switch(feeder.trace_s, now - feeder.began, mode, reason, count, text.is_kept()))
            lines.clear()
    except (Cancelled, KeyboardInterrupt):
        complete = False
    spans.append(Span(mode, time.monotonic() - begin, text.n_generated - first))
    near = [b.seconds - a.seconds < speed for a, b in itertools.pairwise(points)]
    return Replay(model.info.path.name, speed, feeder.trace_s, spans, switches, text.longest_gap_s, sum(near), complete)
