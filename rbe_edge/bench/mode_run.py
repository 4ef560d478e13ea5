"""One power mode, or one other program, under the benchmark: prompts for a while, then tokens for a while."""

from __future__ import annotations

import math
import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from rbe_edge.bench.decoders import Decoder
from rbe_edge.bench.joules import Joules, between, mark
from rbe_edge.bench.sensor_log import Moment, SensorLog, sum_up
from rbe_edge.bench.workloads import Latency, Run, latency
from rbe_edge.machine.power import Power

PROMPT_SHARE = 0.25
"""Time for prompts, of that for tokens. One stretch for each: a sensor that is read 10 times a second resolves no
single prompt."""

_LEAST_PROMPTS = 3
_LEAST_TOKENS = 8
_LOOK_S = 0.25  # tokens between two looks at the clock and at who wants to stop it
_MOST_TOKENS_A_LOOK = 64
_WINDOW_S = 60.0

Told = Callable[[float], object]
"""told(seconds): since the stretch began."""


@dataclass(frozen=True)
class Quality:
    """Of a mode, by the table of the file. against: "itself" or "source"."""

    perplexity: float
    kl: float
    kl_error: float
    top1: float
    against: str
    text: str


@dataclass(frozen=True)
class Stretch:
    """n_tokens that were computed in joules.seconds, pauses of the harness included."""

    n_tokens: int
    joules: Joules


@dataclass(frozen=True)
class Setup:
    """What was run. program: "rbe" or "llama.cpp". name: the mode, or the type of the other program's weights. threads:
    of the mode. bytes_per_token: of weights. quality: None where `quality_why` says why not. note: what the table says
    of the mode. session_bytes: KV cache and scratch memory."""

    program: str
    name: str
    threads: int
    kv: str
    prompt_tokens: int
    answer_tokens: int
    bytes_per_token: int | None = None
    quality: Quality | None = None
    quality_why: str = ""
    note: str = ""
    session_bytes: int | None = None
    kv_bytes: int | None = None


@dataclass(frozen=True)
class ModeRun:
    """prompt_s: of each prompt. token_s: of each token; token_at: when it was there, in seconds since the first one
    began. moments: of the sensors, over both stretches. resident_bytes: of this process at the end. complete: False
    where it was stopped."""

    setup: Setup
    prefill: Stretch
    decode: Stretch
    prompt_s: Sequence[float]
    token_s: Sequence[float]
    token_at: Sequence[float]
    moments: Sequence[Moment] = ()
    resident_bytes: int | None = None
    complete: bool = True

    @property
    def first_token_ms(self) -> float | None:
        """The median of prompts."""
        return 1e3 * statistics.median(self.prompt_s) if self.prompt_s else None

    @property
    def latency(self) -> Latency | None:
        return latency([Run(0.0, tuple(self.token_s))])

    @property
    def rate(self) -> float | None:
        """Tokens/s over all."""
        return len(self.token_at) / self.token_at[-1] if self.token_at else None

    @property
    def window_s(self) -> float:
        """A minute, or half of a shorter run."""
        return min(_WINDOW_S, self.token_at[-1] / 2) if self.token_at else 0.0

    @property
    def first_rate(self) -> float | None:
        """Tokens/s of the first window."""
        return self.rate_between(0.0, self.window_s)

    @property
    def last_rate(self) -> float | None:
        end = self.token_at[-1] if self.token_at else 0.0
        return self.rate_between(end - self.window_s, end)

    def rate_between(self, begin: float, end: float) -> float | None:
        """Tokens that were there after `begin` and not after `end`, in seconds since decoding began."""
        inside = [at for at in self.token_at if begin < at <= end]
        return len(inside) / (end - begin) if inside and end > begin else None

    def rates(self, pieces: int = 60) -> list[tuple[float, float]]:
        """Middle of a piece in seconds, and its tokens/s; at most so many pieces, of a second or longer."""
        if not self.token_at:
            return []
        end = self.token_at[-1]
        n = max(1, min(pieces, math.floor(end)))
        counts = [0] * n
        for at in self.token_at:
            counts[min(n - 1, math.floor(at / end * n))] += 1
        return [((index + 0.5) * end / n, count * n / end) for index, count in enumerate(counts)]


@dataclass
class Recorder:
    """What is gathered while a mode runs, so that Ctrl-C loses nothing."""

    power: Power
    prompt_s: array[float] = field(default_factory=lambda: array("d"))
    token_s: array[float] = field(default_factory=lambda: array("d"))
    token_at: array[float] = field(default_factory=lambda: array("d"))
    prefill: Joules = field(default_factory=lambda: Joules(0.0, why="it was stopped"))
    decode: Joules = field(default_factory=lambda: Joules(0.0, why="it was stopped"))
    log: SensorLog | None = None
    complete: bool = False

    def run(self, decoder: Decoder, seconds: float, told: Told) -> None:
        """Warms up, then runs prompts for a quarter of `seconds` and tokens for all of them. told hears of both
        together. Raises Cancelled and KeyboardInterrupt; what was gathered until then stays."""
        told(0.0)
        decoder.prompt()
        decoder.tokens(1)
        with SensorLog(self.power) as self.log:
            self._prompts(decoder, PROMPT_SHARE * seconds, told)
            self._tokens(decoder, seconds, lambda spent: told(PROMPT_SHARE * seconds + spent))
        self.complete = True

    def _prompts(self, decoder: Decoder, seconds: float, told: Told) -> None:
        begin = mark(self.power)
        try:
            while len(self.prompt_s) < _LEAST_PROMPTS or time.monotonic() - begin.seconds < seconds:
                told(min(seconds, time.monotonic() - begin.seconds))
                self.prompt_s.append(decoder.prompt())
        finally:
            self.prefill = between(begin, mark(self.power))

    def _tokens(self, decoder: Decoder, seconds: float, told: Told) -> None:
        decoder.prompt()  # the answer begins behind it
        begin = mark(self.power)
        count, spent = 1, 0.0
        try:
            while len(self.token_s) < _LEAST_TOKENS or spent < seconds:
                told(min(seconds, spent))
                times = decoder.tokens(count)
                now = time.monotonic() - begin.seconds
                late = now - sum(times) if not self.token_at else max(self.token_at[-1], now - sum(times))
                ends = [late + past for past in accumulate(times)]
                self.token_at.extend(ends)
                self.token_s.extend(times)
                spent = now
                mean = math.fsum(times) / len(times)
                count = max(1, min(_MOST_TOKENS_A_LOOK, int(_LOOK_S / mean) if mean > 0 else 1))
        finally:
            self.decode = between(begin, mark(self.power))

    def result(self, setup: Setup, resident_bytes: int | None) -> ModeRun:
        return ModeRun(
            setup,
            Stretch(len(self.prompt_s) * setup.prompt_tokens, self.prefill),
            Stretch(len(self.token_s), self.decode),
            self.prompt_s,
            self.token_s,
            self.token_at,
            self.log.moments if self.log is not None else (),
            resident_bytes,
            self.complete,
        )


def is_warmer(run: ModeRun, than: ModeRun, by: float = 3.0) -> bool:
    """Whether it began warmer than the other; both must know."""
    mine, other = sum_up(run.moments).begin_c, sum_up(than.moments).begin_c
    return mine is not None and other is not None and mine - other >= by
