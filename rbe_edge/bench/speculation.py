"""Speculative decoding (rbe_edge/runtime/speculation.py) beside plain decoding: both continue the same text with the
likeliest tokens, and give the same text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from rbe_edge.bench.workloads import Run, Workload, check_context
from rbe_edge.errors import OptionError
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions, KvType, SamplingOptions, Speculation
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.runtime.speculation import Acceptance, continuation


@dataclass(frozen=True)
class SpeculationSettings:
    """methods: ways to guess. text: tokens, of which a workload's depth is the prompt. draft_tokens: guessed at
    most."""

    methods: Sequence[Speculation]
    text: Sequence[int]
    draft_tokens: int


@dataclass(frozen=True)
class Speculated:
    """What guessing did, over all timed runs. acceptance: share of the guesses that were right. tokens_per_check: that
    a pass over guesses gave. plain_share: tokens that came by plain steps, for want of a guess or because guessing was
    off. pauses: how often it was slower and was switched off for a while, per run. speedup: over plain decoding, in
    alternation, the median."""

    method: Speculation
    acceptance: float
    tokens_per_check: float
    plain_share: float
    pauses: float
    speedup: float


class Continuing:
    """A session that continues the text, the same way every run. A context manager. Raises OptionError where the text
    is shorter than the prompt that is wanted, or the file cannot guess so."""

    def __init__(
        self,
        model: Model,
        workload: Workload,
        settings: SpeculationSettings,
        how: Speculation,
        threads: int,
        pass_tokens: int,
        kv: KvType,
    ) -> None:
        check_context(model, workload)
        if not 1 <= workload.depth <= len(settings.text):
            raise OptionError(
                f"{workload} continues a text of {workload.depth} tokens and --text has {len(settings.text)}; "
                "give a depth of 1 to that many, such as tg128@256"
            )
        self._model, self._workload = model, workload
        self._prompt = list(settings.text[: workload.depth])
        self._options = GenerationOptions(speculate=how, draft_tokens=settings.draft_tokens)
        self._runs: list[Acceptance] = []
        # Room for the guesses behind the last token too.
        context = min(workload.context + settings.draft_tokens, model.info.context)
        self._session = model.session(context=context, threads=threads, pass_tokens=pass_tokens, kv=kv)
        self.threads = self._session.info.threads
        self.kv = self._session.info.kv

    def __enter__(self) -> Continuing:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    @property
    def method(self) -> Speculation:
        return self._options.speculate

    @property
    def acceptances(self) -> Sequence[Acceptance]:
        """Of each run; empty for plain decoding."""
        return self._runs

    def run(self) -> Run:
        """Raises Cancelled on Ctrl-C. What a base plane's own cache of the prompt takes is part of the time."""
        session = self._session
        session.prefill(session.resume(self._prompt))
        times = []
        with (
            Sampler(self._model.info.vocabulary, SamplingOptions()) as sampler,
            closing(continuation(session, self._options)) as ahead,
        ):
            for _ in range(self._workload.n_tokens):
                began = time.perf_counter()
                with ahead.logits_pointer() as logits:
                    token = sampler.draw(logits)
                ahead.append(token)
                times.append(time.perf_counter() - began)
            if ahead.acceptance is not None:
                self._runs.append(ahead.acceptance)
        return Run(math.fsum(times), tuple(times))


def speculated(way: Continuing, repetitions: int, speedup: float) -> Speculated:
    """Sums up the last runs, those after the warm-up."""
    runs = way.acceptances[-repetitions:]
    drafted, accepted = sum(run.drafted for run in runs), sum(run.accepted for run in runs)
    checks, passes = sum(run.checks for run in runs), sum(run.passes for run in runs)
    return Speculated(
        way.method,
        accepted / drafted if drafted else 0.0,
        (checks + accepted) / checks if checks else 0.0,
        (passes - checks) / (passes + accepted) if passes else 0.0,
        sum(run.pauses for run in runs) / len(runs),
        speedup,
    )
