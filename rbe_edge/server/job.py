"""One answer in progress: its prompt, how its tokens are drawn, and the events that report it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.constraint import Constraint
from rbe_edge.runtime.engine_generation import EngineGeneration, Event
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.runtime.text_stream import TextStream
from rbe_edge.server.power import PowerUse, Spent

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
    """Text that has become certain, and the tokens that it completes. scores are empty unless asked for."""

    text: str
    scores: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Finish:
    """The answer is complete. cached_tokens: of the prompt, those that a slot still held. power: None where nothing
    governs. stop: the text of the job's `stop` that ended it, None where none did. first_token_at: time.monotonic()."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    power: PowerUse | None = None
    stop: str | None = None
    first_token_at: float | None = None


#: Piece, Finish, or the exception that ended the job. Called on the scheduler's thread; must not block or raise.
Tell = Callable[["Piece | Finish | BaseException"], None]


@dataclass(eq=False)
class Job:
    """An answer that is wanted. prompt: token ids, at least one. text: of an encoder-decoder, what its encoder reads,
    token ids; the prompt is then the beginning of the answer. max_tokens None: until the context is full.
    top_logprobs None: no scores. Jobs of one request hold the same `request`, those with one prompt or text the same
    list of it, which is then computed once. clamped: more tokens were asked for than max_tokens. cancel() may be called
    on any thread; the rest is the scheduler's."""

    prompt: Sequence[int]
    sampling: SamplingOptions
    tell: Tell
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    constraint: Constraint | None = None
    request: object = field(default_factory=object)
    text: Sequence[int] = ()
    clamped: bool = False
    cancelled: bool = False
    arrived: float = field(default_factory=time.monotonic)

    @property
    def reads(self) -> Sequence[int]:
        """What is computed before the first token of the answer: the text, else the prompt."""
        return self.text or self.prompt

    def cancel(self) -> None:
        """Its slot is free within a token, or a piece of its prompt, or the text that is read."""
        self.cancelled = True


class Answer:
    """A job that has a session. It reports what its generation gives. The scheduler reads the prompt and steps."""

    def __init__(
        self,
        job: Job,
        session: Session,
        power_of: Callable[[Spent], PowerUse | None] = lambda spent: None,
        *,
        holds_text: bool = False,
    ) -> None:
        """power_of: asked when the answer ends, of what it has spent. holds_text: the session has the job's text."""
        self.job, self.session = job, session
        self.spent = Spent()
        self._power_of = power_of
        if job.text:
            session.rewind(0)
        self.rest = session.resume(job.prompt)  # of the prompt, not yet in the context
        self.unread: Sequence[int] = () if holds_text else job.text  # of the encoder
        self.cached_tokens = len(job.reads) - len(self.unread) if job.text else len(job.prompt) - len(self.rest)
        self.generated = 0
        self._tokens: list[int] = []  # that were generated, where it may matter which text stopped them
        self.first_token_at: float | None = None
        room = session.context - len(job.prompt) + 1  # the last token need not be appended
        self._limit = min(room, job.max_tokens or room)
        self._scores: npt.NDArray[np.float64] | None = None
        self._scored = _ScoredText(session) if job.top_logprobs is not None else None
        self._generation: EngineGeneration | None = None

    @property
    def generation(self) -> EngineGeneration:
        """Begins behind the prompt, which is in the context by then."""
        if self._generation is None:
            job = self.job
            chooses = job.constraint is not None or job.top_logprobs is not None
            self._generation = EngineGeneration(
                self.session,
                job.sampling,
                max_tokens=self._limit,
                stop=job.stop,
                draw=self._draw if chooses else None,
            )
        return self._generation

    def _draw(self, logits: npt.NDArray[np.float32], sampler: Sampler) -> int | None:
        if self.job.top_logprobs is not None:
            self._scores = _log_softmax(logits)
        if self.job.constraint is not None:
            return self.job.constraint.draw(logits, sampler, self._limit - self.generated)
        return sampler.draw_from(logits)

    def take(self, event: Event) -> bool:
        """Reports what a step gave. True where the answer goes on."""
        job, constraint = self.job, self.job.constraint
        if self.first_token_at is None and event.token is not None:
            self.first_token_at = time.monotonic()
        if event.token is None or event.finish == "end":
            self._finish("stop" if event.finish == "end" else "length", event.rest)
            return False
        self.generated += 1
        if job.stop:
            self._tokens.append(event.token)
        if self._scored is not None and self._scores is not None:
            self._scored.push(_score(event.token, self._scores, job.top_logprobs or 0))
        self._tell(event.text)
        if event.finish == "stop":
            self._finish("stop", stop=self._stopped_by())
            return False
        if constraint is not None:
            constraint.accept(event.token)
            if constraint.ended:
                rest = event.rest if event.finish is not None else self.generation.end()
                self._finish("length" if constraint.shortened else "stop", rest)
                return False
        if event.finish is not None:
            self._finish("length", event.rest)
            return False
        return True

    def _tell(self, text: str, is_all: bool = False) -> None:
        scores = self._scored.take(text, is_all) if self._scored is not None else ()
        if text or scores:
            self.job.tell(Piece(text, scores))

    def _stopped_by(self) -> str | None:
        """The text that ended it: the first one in what was generated, the longest of those that begin there."""
        text = self.session.model.detokenize(self._tokens)
        found = [(text.find(stop), -len(stop), stop) for stop in self.job.stop if stop in text]
        return min(found)[2] if found else None

    def _finish(self, reason: FinishReason, rest: str | None = None, stop: str | None = None) -> None:
        """rest: the end of the text. None: a stop sequence has cut it off, and the tokens behind the cut with it."""
        if rest is not None:
            self._tell(rest, is_all=True)
        power = self._power_of(self.spent)
        counts = len(self.job.reads), self.cached_tokens, self.generated
        self.job.tell(Finish(reason, *counts, power, stop, self.first_token_at))

    def close(self) -> None:
        if self._generation is not None:
            self._generation.close()
        if self._scored is not None:
            self._scored.close()


class _ScoredText:
    """Holds scores back until all text of their tokens has been given."""

    def __init__(self, session: Session) -> None:
        self._stream = TextStream(session.model)  # without stops: where each token's text ends
        self._written = self._given = 0  # characters
        self._held: deque[tuple[int, TokenScore]] = deque()  # with the end of the token's text
        self._without_text: list[TokenScore] = []  # of tokens that go with the next one that completes a character

    def push(self, score: TokenScore) -> None:
        self._without_text.append(score)
        text = self._stream.push(score.token)
        if text:
            self._written += len(text)
            self._held.extend((self._written, one) for one in self._without_text)
            self._without_text.clear()

    def take(self, text: str, is_all: bool) -> tuple[TokenScore, ...]:
        """The scores that belong to the text that is given now; is_all: it is the last."""
        self._given += len(text)
        found = []
        while self._held and (is_all or self._held[0][0] <= self._given):
            found.append(self._held.popleft()[1])
        return (*found, *self._without_text) if is_all else tuple(found)

    def close(self) -> None:
        self._stream.close()


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(np.max(logits))
    scores: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return scores


def _score(token: int, scores: npt.NDArray[np.float64], top: int) -> TokenScore:
    best = np.argsort(-scores, kind="stable")[:top] if top else ()
    return TokenScore(token, _finite(scores[token]), tuple((int(one), _finite(scores[one])) for one in best))


def _finite(score: float) -> float:
    """JSON has no infinity; OpenAI's API writes -9999 too."""
    return max(float(score), -9999.0)
