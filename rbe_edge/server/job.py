"""One answer on its way: its prompt, how its tokens are drawn, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.constraint import Constraint
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.runtime.text_stream import TextStream

if TYPE_CHECKING:
    from rbe_edge.runtime.session import Session

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class TokenScore:
    """A token with its natural log-probability by the model, before temperature and constraints; top: the likeliest
    ones with theirs, best first."""

    token: int
    log_probability: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Piece:
    """Text that has become certain, and the tokens drawn since the last piece; scores are empty unless asked for."""

    text: str
    scores: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Finish:
    """The answer is complete. cached_tokens: of the prompt, those that a slot still held."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


#: Piece, Finish, or the exception that ended the job. Called on the scheduler's thread; must not block or raise.
Tell = Callable[["Piece | Finish | BaseException"], None]


@dataclass(eq=False)
class Job:
    """An answer that is wanted. prompt: token ids, at least one. max_tokens None: until the context is full.
    top_logprobs None: no scores. Jobs of one request hold the same `request`, those with one prompt the same list of
    it, which is then computed once. cancel() may be called on any thread; the rest is the scheduler's."""

    prompt: Sequence[int]
    sampling: SamplingOptions
    tell: Tell
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    constraint: Constraint | None = None
    request: object = field(default_factory=object)
    cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)

    def cancel(self) -> None:
        """Its slot is free within a token, or a piece of its prompt."""
        self.cancelled = True


class Answer:
    """A job that has a session: draws and tells. The scheduler appends the tokens."""

    def __init__(self, job: Job, session: Session) -> None:
        self.job, self._session = job, session
        self._model = session.model
        self.rest = session.resume(job.prompt)  # of the prompt, not yet in the context
        self.cached_tokens = len(job.prompt) - len(self.rest)
        self.generated = 0
        self.first_token_at: float | None = None
        room = session.context - len(job.prompt) + 1  # the last token need not be appended
        self._limit = min(room, job.max_tokens or room)
        self._stack = ExitStack()
        try:
            self._sampler = self._stack.enter_context(Sampler(self._model.info.vocabulary, job.sampling))
            self._stream = self._stack.enter_context(TextStream(self._model, job.stop))
            if len(job.prompt) == 1 and not self._model.token_bytes(job.prompt[0]):
                self._stream.push(job.prompt[0])  # BOS alone: the text begins here, and the stream is to know it
            for token in job.prompt[-job.sampling.repeat_last :]:
                self._sampler.accept(token)
        except BaseException:
            self._stack.close()
            raise

    def next_token(self) -> int | None:
        """Draws from the session's logits and tells; the token that is to be appended, None where the answer ended."""
        job, constraint = self.job, self.job.constraint
        logits = self._session.logits if constraint is not None or job.top_logprobs is not None else None
        scores = _log_softmax(logits) if logits is not None and job.top_logprobs is not None else None
        token: int | None
        if constraint is not None and logits is not None:
            token = constraint.draw(logits, self._sampler, self._limit - self.generated)
            if token is None:
                self._finish("length")
                return None
        else:
            with self._session.logits_pointer() as pointer:
                token = self._sampler.draw(pointer)
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        if self._model.ends_text(token):
            self._finish("stop")
            return None
        self.generated += 1
        self._sampler.accept(token)
        text = self._stream.push(token)
        score = () if scores is None else (_score(token, scores, job.top_logprobs or 0),)
        if text or score:
            job.tell(Piece(text, score))
        if self._stream.stopped:
            self._finish("stop", with_rest=False)
            return None
        if constraint is not None:
            constraint.accept(token)
            if constraint.ended:
                self._finish("length" if constraint.shortened else "stop")
                return None
        if self.generated >= self._limit:
            self._finish("length")
            return None
        return token

    def _finish(self, reason: FinishReason, with_rest: bool = True) -> None:
        rest = self._stream.finish() if with_rest else ""
        if rest:
            self.job.tell(Piece(rest, ()))
        self.job.tell(Finish(reason, len(self.job.prompt), self.cached_tokens, self.generated))

    def close(self) -> None:
        self._stack.close()


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(np.max(logits))
    scores: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return scores


def _score(token: int, scores: npt.NDArray[np.float64], top: int) -> TokenScore:
    best = np.argsort(-scores, kind="stable")[:top] if top else ()
    return TokenScore(token, float(scores[token]), tuple((int(one), float(scores[one])) for one in best))
