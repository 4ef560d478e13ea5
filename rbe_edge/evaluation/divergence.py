"""How far a packed model is from its source: KL divergence and top-1 agreement on a text, both models in the C engine.

The text is cut as in `perplexity`. For every scored token, KL(source || packed) = sum over the vocabulary of
p (ln p - ln q) in nats, p the source's and q the packed model's distribution; the result is the mean. The mean hides
what happens at a few tokens, so the 99th percentile over tokens stands beside it. A choice is flipped where the two
models find different tokens most likely; top-1 agreement is the share of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.perplexity import DEFAULT_WINDOW, windows_of
from rbe_edge.progress import Report
from rbe_edge.runtime.probabilities import divergences, log_softmax, standard_error

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.session import Session

_LOGIT_BYTES = 32 << 20  # of one model at a time; a window is scored in pieces of so much


@dataclass(frozen=True)
class Divergence:
    """kl: mean KL(source || packed) in nats per token, kl_error: its standard error over windows (0 for a single one).
    top1_agreement: 0 to 1. window: tokens of the longest window. kl_p99: 99 % of the scored tokens have at most this
    KL, in nats (between two of them linearly)."""

    kl: float
    kl_error: float
    top1_agreement: float
    perplexity: float
    source_perplexity: float
    n_scored: int
    window: int
    kl_p99: float

    @property
    def flipped(self) -> float:
        """The share of tokens, 0 to 1, at which the two models find different tokens most likely."""
        return 1 - self.top1_agreement

    @property
    def perplexity_ratio(self) -> float:
        """Packed over source."""
        return self.perplexity / self.source_perplexity


@dataclass
class Sums:
    """Over the scored tokens of one window, in nats. each: KL of every token, in pieces."""

    kl: float = 0.0
    agree: int = 0
    nats: float = 0.0
    source_nats: float = 0.0
    n: int = 0
    each: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(
        self, source: npt.NDArray[np.float32], packed: npt.NDArray[np.float32], followed: npt.NDArray[np.int64]
    ) -> None:
        """source, packed: log-probabilities [n][vocabulary] of the tokens followed[n]."""
        rows = np.arange(len(followed))
        self.n += len(followed)
        self.source_nats -= float(source[rows, followed].sum(dtype=np.float64))
        self.nats -= float(packed[rows, followed].sum(dtype=np.float64))
        self.agree += int((source.argmax(axis=1) == packed.argmax(axis=1)).sum())
        each = divergences(source, packed)
        self.kl += float(each.sum())
        self.each.append(each)


def divergence(
    packed: Model,
    source: Model,
    text: str | Sequence[int],
    *,
    window: int = 0,
    n_windows: int | None = None,
    threads: int = 0,
    planes: int = 0,
    effort: Effort | None = None,
    progress: Report | None = None,
) -> Divergence:
    """Compares two models of one vocabulary on a text or on tokens.

    window: tokens, 0 for 1024 or the shorter context. n_windows: at most so many, from the beginning. planes: of the
    packed model, that many of each tensor are read, 0 for all. effort: how much of the packed model is read instead.
    progress: counts windows.
    Raises OptionError where the vocabularies differ or the text is too short.
    """
    if packed.info.vocabulary != source.info.vocabulary:
        raise OptionError(
            f"the models have vocabularies of {packed.info.vocabulary} and {source.info.vocabulary} tokens; "
            "compare a packed model with the source it was packed from"
        )
    window = window or min(DEFAULT_WINDOW, packed.info.context, source.info.context)
    if window < 2:
        raise OptionError(f"a window has at least 2 tokens, not {window}")
    windows = windows_of(source, text, window, n_windows)
    longest = max(map(len, windows))
    parts: list[Sums] = []
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(source.session(context=longest, threads=threads)),
            stack.enter_context(packed.session(context=longest, threads=threads, planes=planes)),
        ]
        if effort is not None:
            sessions[1].set_effort(effort)
        for done, part in enumerate(windows):
            if progress is not None:
                progress(done, len(windows))
            parts.append(compare_window(sessions[0], sessions[1], part))
    if progress is not None:
        progress(len(windows), len(windows))
    return summary(parts, longest)


def pieces(tokens: Sequence[int], vocabulary: int) -> Iterator[tuple[Sequence[int], npt.NDArray[np.int64]]]:
    """A window in pieces whose logits are not too large: the tokens given, and those that follow each of them."""
    piece = max(_LOGIT_BYTES // (4 * vocabulary), 1)
    for start in range(0, len(tokens) - 1, piece):
        given = tokens[start : min(start + piece, len(tokens) - 1)]
        yield given, np.asarray(tokens[start + 1 : start + 1 + len(given)], dtype=np.int64)


def compare_window(source: Session, packed: Session, tokens: Sequence[int]) -> Sums:
    """The sums of one window; both sessions forget what they held."""
    source.rewind(0)
    packed.rewind(0)
    sums = Sums()
    for given, followed in pieces(tokens, source.model.info.vocabulary):
        sums.add(_scored(source, given), _scored(packed, given), followed)
    return sums


def _scored(session: Session, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    logits = session.score(tokens, logits=True).logits
    assert logits is not None
    return log_softmax(logits)


def summary(parts: Sequence[Sums], window: int) -> Divergence:
    """Of the sums of every window. window: tokens of the longest."""
    n = sum(part.n for part in parts)
    means = np.array([part.kl / part.n for part in parts])
    return Divergence(
        kl=math.fsum(part.kl for part in parts) / n,
        kl_error=standard_error(means),
        top1_agreement=sum(part.agree for part in parts) / n,
        perplexity=math.exp(math.fsum(part.nats for part in parts) / n),
        source_perplexity=math.exp(math.fsum(part.source_nats for part in parts) / n),
        n_scored=n,
        window=window,
        kl_p99=float(np.quantile(np.concatenate([each for part in parts for each in part.each]), 0.99)),
    )
