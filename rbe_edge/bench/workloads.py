"""What is timed: prompts (pp) and generation (tg), at a depth of context, and the numbers that come out."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rbe_edge.bench.depth import fill
from rbe_edge.errors import OptionError
from rbe_edge.runtime.memory import ProfileEntry
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import KvType
from rbe_edge.runtime.session import Session

DEFAULT = "pp128,pp512,tg64,tg256,tg64@1024"
DEFAULT_OF_SPECULATION = "tg128@256"
MAX_TOKENS = 1 << 20


@dataclass(frozen=True)
class Workload:
    """kind: "pp", a prompt of n_tokens in one call, or "tg", n_tokens one after the other. depth: tokens that are in
    the context before; they are not timed."""

    kind: str
    n_tokens: int
    depth: int = 0

    def __str__(self) -> str:
        return f"{self.kind}{self.n_tokens}" + (f"@{self.depth}" if self.depth else "")

    @property
    def context(self) -> int:
        """Tokens the session must hold."""
        return self.depth + self.n_tokens

    @property
    def mean_context(self) -> float:
        """Tokens that are read on average while the n_tokens are generated one by one, each itself included."""
        return self.depth + (self.n_tokens + 1) / 2


def parse_workloads(text: str) -> list[Workload]:
    """'pp512,tg64@1024'. Raises OptionError."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(pp|tg)(\d{1,7})(?:@(\d{1,7}))?", part.strip())
        if match is None or not 1 <= int(match[2]) <= MAX_TOKENS or int(match[3] or 0) > MAX_TOKENS:
            raise OptionError(f"{part.strip()!r} is no workload; give such as pp512, tg64 or tg64@1024 (at depth 1024)")
        found.append(Workload(match[1], int(match[2]), int(match[3] or 0)))
    return found


def check_context(model: Model, workload: Workload) -> None:
    """Raises OptionError where the model's context is too short."""
    if workload.context > model.info.context:
        raise OptionError(
            f"{workload} needs a context of {workload.context} tokens and the model has {model.info.context}"
        )


@dataclass(frozen=True)
class Run:
    """One repetition. seconds: of all tokens. token_seconds: of each, for "tg"."""

    seconds: float
    token_seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Between tokens, in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Rate:
    """Tokens per second over the repetitions. deviation: standard deviation, 0 for a single one."""

    mean: float
    median: float
    deviation: float
    runs: tuple[float, ...]


def rate(n_tokens: int, runs: Sequence[Run]) -> Rate:
    rates = tuple(n_tokens / run.seconds for run in runs)
    deviation = statistics.stdev(rates) if len(rates) > 1 else 0.0
    return Rate(statistics.fmean(rates), statistics.median(rates), deviation, rates)


def latency(runs: Sequence[Run]) -> Latency | None:
    """Percentiles over all tokens of all runs: the smallest time that so many per cent do not exceed; None for "pp"."""
    times = sorted(1e3 * seconds for run in runs for seconds in run.token_seconds)
    if not times:
        return None
    p50, p95, p99 = (times[max(math.ceil(len(times) * percent / 100) - 1, 0)] for percent in (50, 95, 99))
    return Latency(p50, p95, p99)


def arbitrary_tokens(count: int, vocabulary: int, first: int = 0) -> list[int]:
    """Token ids from number `first` on, which are as good as any: the time does not depend on them."""
    return [index * 31 % vocabulary for index in range(first, first + count)]


class Bench:
    """A model and a session of it, ready to run one workload again and again. A context manager.

    Token ids are arbitrary: the time does not depend on them. Every run starts from the same context.
    """

    def __init__(
        self,
        model: Model,
        workload: Workload,
        threads: int,
        pass_tokens: int = 0,
        profile: bool = False,
        kv: KvType = "auto",
    ) -> None:
        check_context(model, workload)
        self.workload = workload
        self._vocabulary = model.info.vocabulary
        self._session: Session = model.session(
            context=workload.context, threads=threads, pass_tokens=pass_tokens, profile=profile, kv=kv
        )
        self.threads = self._session.info.threads
        self.kv = self._session.info.kv

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    @property
    def profile(self) -> tuple[ProfileEntry, ...]:
        """Of all runs, if it was asked for."""
        return self._session.profile

    def run(self) -> Run:
        """Raises Cancelled on Ctrl-C."""
        if self._session.position > self.workload.depth:
            self._session.rewind(self.workload.depth)
        elif self._session.position < self.workload.depth:
            fill(self._session, self._tokens(self.workload.depth))
        if self.workload.kind == "pp":
            tokens = self._tokens(self.workload.n_tokens)
            began = time.perf_counter()
            self._session.prefill(tokens)
            return Run(time.perf_counter() - began)
        times = []
        for token in self._tokens(self.workload.n_tokens):
            began = time.perf_counter()
            self._session.prefill((token,))
            times.append(time.perf_counter() - began)
        return Run(math.fsum(times), tuple(times))

    def _tokens(self, count: int) -> list[int]:
        return arbitrary_tokens(count, self._vocabulary)
