"""Perplexity of a packed model on a text.

The text is tokenized as a whole, without a token in front, and cut into windows of `window` tokens that do not overlap.
Every window begins an empty context; its first token is given, all others are scored. Perplexity is exp of the mean of
-ln p over all scored tokens. Numbers of different windows, or of different tokenizers, do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rbe_edge.errors import OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.text_windows import cut, text_windows

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.options import KvType

DEFAULT_WINDOW = 1024


@dataclass(frozen=True)
class Perplexity:
    """nats: sum of -ln p of the scored tokens, per window. n_scored: tokens scored in all. window: the longest, in
    tokens."""

    nats: tuple[float, ...]
    n_scored: int
    window: int

    @property
    def nats_per_token(self) -> float:
        return math.fsum(self.nats) / self.n_scored

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats_per_token)


def windows_of(model: Model, text: str | Sequence[int], window: int, n_windows: int | None) -> list[Sequence[int]]:
    """Of a text, each begun as the model wants it; tokens are cut as they are. Raises OptionError where there is
    nothing to score."""
    windows = text_windows(model, text, window, n_windows) if isinstance(text, str) else cut(text, window, n_windows)
    if not windows:
        n = len(model.tokenize(text, special=False) if isinstance(text, str) else text)
        raise OptionError(f"the text has {n} tokens; at least 2 are needed to score one")
    return windows


def perplexity(
    model: Model,
    text: str | Sequence[int],
    *,
    window: int = 0,
    n_windows: int | None = None,
    threads: int = 0,
    kv: KvType = "f16",
    planes: int = 0,
    effort: Effort | None = None,
    progress: Report | None = None,
) -> Perplexity:
    """Perplexity of a model on a text, or on tokens.

    window: tokens, 0 for 1024 or the model's context where that is shorter. n_windows: at most so many windows, from
    the beginning. planes: how many of each tensor are read, 0 for all. effort: how much is read instead. progress:
    counts windows. Raises OptionError where there is nothing to score.
    """
    window = window or min(DEFAULT_WINDOW, model.info.context)
    if window < 2:
        raise OptionError(f"a window has at least 2 tokens, not {window}")
    windows = windows_of(model, text, window, n_windows)
    return score_windows(model, windows, threads=threads, kv=kv, planes=planes, effort=effort, progress=progress)


def score_windows(
    model: Model,
    windows: Sequence[Sequence[int]],
    *,
    threads: int = 0,
    kv: KvType = "f16",
    planes: int = 0,
    effort: Effort | None = None,
    progress: Report | None = None,
) -> Perplexity:
    """Perplexity over windows that are given: each at least two tokens, in an empty context, the first not scored."""
    window = max(map(len, windows))
    nats = []
    with model.session(context=window, threads=threads, kv=kv, planes=planes) as session:
        if effort is not None:
            session.set_effort(effort)
        for done, part in enumerate(windows):
            if progress is not None:
                progress(done, len(windows))
            session.rewind(0)
            nats.append(-float(np.sum(session.score(part).log_probabilities, dtype=np.float64)))
    if progress is not None:
        progress(len(windows), len(windows))
    return Perplexity(tuple(nats), sum(len(part) - 1 for part in windows), window)
