"""Which parts of a model can be left unread: the effort that reads the fewest bytes for a token within a bound of loss.

What can be left out is a list of moves: fewer planes of the matrices of one layer's attention or feed-forward step, the
whole step, fewer planes of the embedding or the head. The KL divergence that each move alone costs, over the bytes that
it saves, orders them; of each place the moves on the convex hull of cost over bytes are taken (as `rbe pack` allots
bits, docs/codec.md). Moves are then taken in that order as long as the loss stays within the bound, which is measured
on more text, not added up. What moves cost changes with those that were taken, so the costs are measured again from
there for the next bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.divergence import pieces
from rbe_edge.progress import Report
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.probabilities import Likely, log_softmax, standard_error

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

_COMPARED_TOKENS = 256  # on which moves are compared with one another: their order need not be exact
_OFTEN = 12  # all of the text is measured about so many times after moves are compared

Part = Literal["attention", "feed_forward", "embedding", "lm_head"]


@dataclass(frozen=True)
class Loss:
    """Of an effort on a text, against the whole model: kl in nats per token, its standard error over tokens,
    perplexity, top1_agreement from 0 to 1, over n tokens."""

    kl: float
    kl_error: float
    perplexity: float
    top1_agreement: float
    n: int


def keeps(loss: Loss, whole: Loss, ratio: float) -> bool:
    """Whether perplexity is at most ratio times that of the whole model. Where the text is one that the model does not
    know, perplexity says little of its answers, so the divergence is bounded too: by twice what it is where perplexity
    grows by the ratio on text of the model's own, ln ratio."""
    return loss.perplexity <= ratio * whole.perplexity and loss.kl <= 2 * math.log(ratio)


@dataclass(frozen=True)
class Move:
    """planes of one part, of one layer where it is of layers; SKIP leaves the step out."""

    part: Part
    layer: int
    planes: int

    def applied(self, effort: Effort) -> Effort:
        if self.part == "embedding":
            return replace(effort, embedding=self.planes)
        if self.part == "lm_head":
            return replace(effort, lm_head=self.planes)
        lists = {"attention": list(effort.attention), "feed_forward": list(effort.feed_forward)}
        lists[self.part][self.layer] = self.planes
        return replace(effort, attention=tuple(lists["attention"]), feed_forward=tuple(lists["feed_forward"]))


class Judge:
    """Measures efforts against the whole model on windows of tokens. Of what the whole model foretells at each token,
    the probabilities that matter are kept: some kilobytes."""

    def __init__(self, model: Model, windows: Sequence[Sequence[int]], *, threads: int = 0) -> None:
        """windows: of two tokens at least, each read in an empty context."""
        if not windows:
            raise OptionError("the text is too short; at least 2 tokens are needed")
        self._windows = windows
        self._model = model
        self._session = model.session(context=max(map(len, windows)), threads=threads)
        self._expected: list[Likely] = []
        nats: list[npt.NDArray[np.float32]] = []
        for found, followed in self._scored(None):
            self._expected += [Likely(row) for row in found]
            nats.append(_followed(found, followed))
        self.whole = Loss(0.0, 0.0, _perplexity(nats), 1.0, len(self._expected))

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def whole_found(self) -> Found:
        """The whole model, as a search finds efforts."""
        effort = whole_effort(self._model)
        return Found(effort, self._model.read_bytes(effort), self.whole)

    def _scored(
        self, effort: Effort | None, most: int | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        """Log-probabilities [n][vocabulary] and the tokens [n] that follow, piece by piece of each window. most:
        tokens, after which no window is begun."""
        self._session.set_effort(effort)
        done = 0
        for window in self._windows:
            if most is not None and done >= most:
                return
            done += len(window) - 1
            self._session.rewind(0)
            for given, followed in pieces(window, self._model.info.vocabulary):
                logits = self._session.score(given, logits=True).logits
                assert logits is not None
                yield log_softmax(logits), followed

    def loss(self, effort: Effort, most: int | None = None) -> Loss:
        """most: about so many tokens from the start of the text; None: all."""
        nats: list[npt.NDArray[np.float32]] = []
        each: list[float] = []
        agree = 0
        for found, followed in self._scored(effort, most):
            nats.append(_followed(found, followed))
            for row in found:
                expected = self._expected[len(each)]
                each.append(expected.divergence(row))
                agree += expected.first == int(row.argmax())
        every = np.asarray(each)
        n = len(each)
        return Loss(max(0.0, float(every.mean())), standard_error(every), _perplexity(nats), agree / n, n)


def _followed(found: npt.NDArray[np.float32], followed: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The log-probabilities [n] of the tokens that follow, of those of all tokens [n][vocabulary]."""
    return found[np.arange(len(followed)), followed]


def _perplexity(log_probabilities: Sequence[npt.NDArray[np.float32]]) -> float:
    mean = np.concatenate(log_probabilities).astype(np.float64).mean()
    return math.exp(min(700.0, -float(mean)))


_STEPS: dict[str, Part] = {
    "attention": "attention", "convolution": "attention", "recurrence": "attention", "feed_forward": "feed_forward",
    "experts": "feed_forward", "shared": "feed_forward",
}  # fmt: skip
"""What an effort calls the steps of a layer: convolutions and recurrent steps stand in the place of attention, experts
and what is shared beside them in that of a feed-forward part."""


def places(model: Model) -> dict[tuple[Part, int], int]:
    """Where something can be left out: the part, the layer (0 for the ends), and the planes that it has there."""
    found: dict[tuple[Part, int], int] = {}
    for name, tensor in model.tensors.items():
        words = name.split(".")
        n_planes = max(1, len(tensor.plane_bits))
        if words[0] == "layers" and words[2] in _STEPS and not words[3].endswith("taps") and tensor.rows > 1:
            part = _STEPS[words[2]]
            found[part, int(words[1])] = max(n_planes, found.get((part, int(words[1])), 1))
        elif n_planes > 1 and name == "embedding":
            found["embedding", 0] = n_planes
            if "head" not in model.tensors:  # tied: one matrix in both roles
                found["lm_head", 0] = n_planes
        elif n_planes > 1 and name == "head":
            found["lm_head", 0] = n_planes
    return found


def moves_of(model: Model) -> list[Move]:
    """All moves: fewer planes where there are several, and every step of a layer left out."""
    moves = []
    for (part, layer), n_planes in places(model).items():
        moves += [Move(part, layer, planes) for planes in range(n_planes - 1, 0, -1)]
        if part in ("attention", "feed_forward"):
            moves.append(Move(part, layer, SKIP))
    return moves


def whole_effort(model: Model) -> Effort:
    """All of the model, with lists."""
    return Effort((0,) * model.info.layers, (0,) * model.info.layers)


@dataclass(frozen=True)
class Found:
    """What a search has found: the effort, bytes that a token reads with it, and its loss on the text of the search."""

    effort: Effort
    read_bytes: int
    loss: Loss


class EffortSearch:
    """Efforts within growing bounds, each found from the one before."""

    def __init__(self, model: Model, judge: Judge, report: Report | None = None) -> None:
        """report: counts tokens that are measured, of about how many."""
        self._model = model
        self._judge = judge
        self._moves = moves_of(model)
        self.best = judge.whole_found()  # from which the next search goes on
        self._orders: dict[Effort, list[Move]] = {}
        self._report = report
        self._done, self._expected = 0, 1

    def within(self, ratio: float) -> Found:
        """The fewest bytes found that keep a ratio of perplexity. ratio: not below that of the last call."""
        self.best = self._take(self._order(), ratio) or self.best
        return self.best

    def _measured(self, effort: Effort, most: int | None = None) -> Found:
        self._done += self._judge.whole.n if most is None else min(most, self._judge.whole.n)
        self._expected = max(self._expected, self._done)
        if self._report is not None:
            self._report(self._done, self._expected)
        return Found(effort, self._model.read_bytes(effort), self._judge.loss(effort, most))

    def _order(self) -> list[Move]:
        """Moves from the best effort on that save bytes, the cheapest first; of a place each behind the weaker one."""
        if self.best.effort in self._orders:
            return self._orders[self.best.effort]
        options: dict[tuple[Part, int], list[tuple[int, float, Move]]] = {}
        base = self._measured(self.best.effort, _COMPARED_TOKENS)
        tried = [move for move in self._moves if self._model.read_bytes(move.applied(base.effort)) < base.read_bytes]
        left = len(tried) * min(_COMPARED_TOKENS, self._judge.whole.n) + _OFTEN * self._judge.whole.n
        self._expected = self._done + left
        for move in tried:
            found = self._measured(move.applied(base.effort), _COMPARED_TOKENS)
            cost = max(0.0, found.loss.kl - base.loss.kl)
            options.setdefault((move.part, move.layer), []).append((base.read_bytes - found.read_bytes, cost, move))
        steps = [step for listed in options.values() for step in _hull(listed)]
        order = [move for _, move in sorted(steps, key=lambda step: step[0])]
        self._orders[base.effort] = order
        return order

    def _take(self, order: Sequence[Move], ratio: float) -> Found | None:
        """The longest beginning of the order that stays within the bound, by bisection; None where not even the first
        move does."""
        best: Found | None = None
        low, high = 0, len(order)
        while low < high:
            middle = (low + high + 1) // 2
            effort = self.best.effort
            for move in order[:middle]:
                effort = move.applied(effort)
            found = self._measured(effort)
            if keeps(found.loss, self._judge.whole, ratio):
                best, low = found, middle
            else:
                high = middle - 1
        return best


def _hull(options: Sequence[tuple[int, float, Move]]) -> Iterator[tuple[float, Move]]:
    """Of the moves of one place, by bytes saved and cost, those on the convex hull: what each costs for a byte more
    than the one before, which never falls."""
    saved, cost = 0, 0.0
    left = sorted(options, key=lambda option: option[0])
    while left:
        slopes = [((option[1] - cost) / (option[0] - saved), at) for at, option in enumerate(left)]
        slope, at = min(slopes)
        yield max(0.0, slope), left[at][2]
        saved, cost, left = left[at][0], left[at][1], [option for option in left[at + 1 :] if option[0] > left[at][0]]
