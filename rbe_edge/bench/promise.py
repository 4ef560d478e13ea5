"""What fewer bytes promise and what they give: a mode's effort and all of the model in alternation, same threads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from rbe_edge.bench.decoders import OwnDecoder
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.model import Model

_PROMPT = 16
_ROUND_S = 0.5
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Promise:
    """promised: bytes of all of the model through those of the effort. given: how many times as many tokens/s, the
    median over rounds."""

    promised: float
    given: float
    rounds: int

    @property
    def kept(self) -> float:
        """Share of what was promised."""
        return self.given / self.promised


def measure_promise(
    model: Model, effort: Effort, threads: int, seconds: float, told: Callable[[float], object] | None = None
) -> Promise | None:
    """None where the effort reads all of the model. seconds: of both together, for three rounds at least. Raises
    Cancelled on Ctrl-C."""
    promised = model.read_bytes() / model.read_bytes(effort)
    if promised <= 1:
        return None
    n_answer = max(8, min(64, model.info.context - _PROMPT))
    with model.session(context=_PROMPT + n_answer, threads=threads, kv="auto") as session:
        decoder = OwnDecoder(session, _PROMPT, n_answer)
        decoder.prompt()
        count = max(4, min(n_answer, int(_ROUND_S / max(statistics.median(decoder.tokens(4)), 1e-6))))

        def of(chosen: Effort | None) -> float:
            """Seconds of a token. All of a round's tokens lie at the same places of the context."""
            session.set_effort(chosen)
            decoder.prompt()
            decoder.tokens(2)
            return statistics.median(decoder.tokens(count))

        ratios: list[float] = []
        began = time.monotonic()
        while len(ratios) < _LEAST_ROUNDS or time.monotonic() - began < seconds:
            if told is not None:
                told(min(seconds, time.monotonic() - began))
            ratios.append(of(None) / of(effort))
        return Promise(promised, statistics.median(ratios), len(ratios))
