"""Speculative decoding (Leviathan et al., 2023): tokens are guessed cheaply and checked together in one pass.

A pass over several tokens generates each weight once for all of them, so that checking costs little more than one step.
Every token is still drawn by the sampler from the logits of the whole model, in order. A guess is used only if the
sampler drew it, so the output is that of plain decoding. There are two ways to guess: what followed the last words
where they stood before (prompt look-up: Saxena, 2023), and the model's own base planes (docs/performance.md,
"Speculative decoding").
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rbe_edge import _native
from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.runtime.engine_generation import EngineGeneration, Event
from rbe_edge.runtime.engine_session import EngineSession
from rbe_edge.runtime.options import GenerationOptions, SessionOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LONGEST_MATCH, SHORTEST_MATCH = 4, 2  # tokens of context that prompt look-up tries to find again
_PLAIN_FIRST = 4  # plain steps, to know what one costs
_TRIAL = 4  # speculative steps between two looks at what they gave
_PAUSE = 32  # plain tokens after speculation lost, doubled each time


class Drafter(Protocol):
    """Guesses what comes next in one text."""

    def propose(self, context: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens that may follow the context, which is that of the call before with more tokens behind
        it; [] where there is no guess."""

    def close(self) -> None: ...


class PromptLookup:
    """What followed the longest match of the last tokens, at its latest place."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}  # where each run of tokens stood last: the place behind it
        self._seen = 0  # places whose runs are there

    def propose(self, context: Sequence[int], count: int) -> list[int]:
        lengths = range(LONGEST_MATCH, SHORTEST_MATCH - 1, -1)
        for end in range(self._seen + 1, len(context)):  # the runs at the very end are what is looked for
            for length in lengths:
                if length <= end:
                    self._ends[tuple(context[end - length : end])] = end
        self._seen = max(self._seen, len(context) - 1)
        for length in lengths:
            end = self._ends.get(tuple(context[-length:]), 0)
            if end:
                return list(context[end : end + count])
        return []

    def close(self) -> None:
        pass


class BasePlanes:
    """The most likely continuation according to the first plane of every tensor: the same file, read in part. It has a
    KV cache of its own."""

    def __init__(self, session: EngineSession) -> None:
        if session.model.encoder_decoder is not None:
            raise OptionError("an encoder-decoder does not guess by its first planes; use look-up, or leave it out")
        planes = [tensor.plane_bits for tensor in session.model.tensors.values()]
        if not any(len(bits) > 1 for bits in planes):
            raise OptionError("this file has no second planes to leave out; pack it with --nested, or use look-up")
        info = session.info
        self._session = EngineSession(
            session.model, SessionOptions(context=info.context, threads=info.threads, kv=info.kv, planes=1)
        )

    def propose(self, context: Sequence[int], count: int) -> list[int]:
        draft = self._session
        count = min(count, draft.context - len(context))
        if count < 1:
            return []
        guessed: list[int] = []
        draft.prefill(draft.resume(context))
        while True:
            guessed.append(int(draft.logits.argmax()))
            if len(guessed) == count:
                return guessed
            draft.prefill(guessed[-1:])

    def close(self) -> None:
        self._session.close()


@dataclass
class Acceptance:
    """drafted: tokens guessed, accepted: those that were right. passes: over the model, plain steps included; checks:
    those that checked guesses. pauses: how often guessing lost and was left off for a while."""

    drafted: int = 0
    accepted: int = 0
    passes: int = 0
    checks: int = 0
    pauses: int = 0


class Plain:
    """Plain decoding: one token per pass."""

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self.acceptance: Acceptance | None = None

    @contextmanager
    def logits_pointer(self) -> Iterator[Any]:
        """What the next token is drawn from."""
        with self._session.logits_pointer() as pointer:
            yield pointer

    def append(self, token: int) -> None:
        """The token is part of the text. Raises ContextFull where there is no room to go on."""
        self._session.prefill((token,))

    def step(self, generation: EngineGeneration) -> Event:
        """The next token of a generation on the session."""
        return generation.step()

    def close(self) -> None:
        pass


class Speculative:
    """Several tokens per pass where guesses are right, and plain steps where guessing is not faster on this machine.

    Between calls the session may hold guessed tokens behind the text; close() takes them away.
    """

    def __init__(self, session: EngineSession, drafter: Drafter, draft_tokens: int) -> None:
        self._session = session
        self._drafter = drafter
        self._most = draft_tokens
        self._count = draft_tokens
        self._context = list(session.tokens)  # kept, because asking the session for it copies it
        self._guessed: list[int] = []  # what the session holds behind the context
        self._ahead: npt.NDArray[np.float32] | None = None  # logits after the context, and after each guess
        self._schedule = _Schedule()
        self._pending: int | None = None  # drawn by step(), not yet appended
        self.acceptance = Acceptance()

    def step(self, generation: EngineGeneration) -> Event:
        """The next token of a generation on the session, from what was computed ahead where a guess was right."""
        if self._pending is not None:
            try:
                self.append(self._pending)
            except ContextFull:
                return generation.step()  # which finds the context full, and ends
        ahead = None if self._ahead is None else _native.pointer(self._ahead[0], ctypes.c_float)
        event = generation.next(ahead)
        self._pending = event.token
        return event

    @contextmanager
    def logits_pointer(self) -> Iterator[Any]:
        """What the next token is drawn from."""
        if self._ahead is None:
            with self._session.logits_pointer() as pointer:
                yield pointer
        else:
            yield _native.pointer(self._ahead[0], ctypes.c_float)

    def append(self, token: int) -> None:
        """The token is part of the text. Raises ContextFull where there is no room to go on."""
        self._context.append(token)
        if self._guessed and self._guessed[0] == token:
            assert self._ahead is not None
            self._guessed, self._ahead = self._guessed[1:], self._ahead[1:]
            self.acceptance.accepted += 1
            self._schedule.gained += 1
            return
        try:
            self._step(token)
        except BaseException:
            self._context.pop()
            raise

    def _step(self, token: int) -> None:
        if self._ahead is not None:  # the next guess is as long as the last was right, and one more
            self._count = max(self._count - 1, 1) if self._guessed else min(self._count + 1, self._most)
        self._forget_guesses()
        began = time.perf_counter()
        guess: list[int] = []
        room = self._session.context - len(self._context)
        if room > 0 and self._schedule.speculate():
            guess = self._drafter.propose(self._context, min(self._count, room))
        self.acceptance.passes += 1
        self.acceptance.pauses = self._schedule.pauses
        if guess:
            self.acceptance.checks += 1
            scores = self._session.score([token, *guess], logits=True)
            self._guessed, self._ahead = guess, scores.logits
            self.acceptance.drafted += len(guess)
        else:
            self._session.prefill((token,))
        self._schedule.took(time.perf_counter() - began, len(guess))

    def _forget_guesses(self) -> None:
        if self._guessed:
            self._session.rewind(self._session.position - len(self._guessed))
        self._guessed, self._ahead = [], None

    def close(self) -> None:
        """The session then holds the text alone."""
        self._drafter.close()
        self._forget_guesses()


class _Schedule:
    """Decides whether to guess: compares the tokens per second of speculative passes with those of plain steps, in this
    run."""

    def __init__(self) -> None:
        self.gained = 0  # guesses that were right since the last look
        self.pauses = 0
        self._plain_seconds = float("inf")  # the quickest so far of late; rises slowly, for what grows with the context
        self._plain_left = _PLAIN_FIRST
        self._pause = _PAUSE
        self._passes = 0
        self._seconds = 0.0

    def speculate(self) -> bool:
        if self._plain_left > 0:
            return False
        if self._passes == _TRIAL:
            lost = (self._passes + self.gained) / self._seconds < 1 / self._plain_seconds
            self._passes, self._seconds, self.gained = 0, 0.0, 0
            if lost:
                self._plain_left = self._pause
                self._pause *= 2
                self.pauses += 1
                return False
            self._pause = _PAUSE
        return True

    def took(self, seconds: float, guessed: int) -> None:
        if guessed:
            self._passes += 1
            self._seconds += seconds
        else:
            self._plain_left -= 1
            self._plain_seconds = min(self._plain_seconds * 1.05, seconds)


Continuation = Plain | Speculative


def continuation(session: EngineSession, options: GenerationOptions) -> Continuation:
    """How tokens behind the prompt are computed. Raises OptionError where the model has no base planes to guess by."""
    if options.speculate == "off" or session.sinks:  # going back over a context that slid is not possible
        return Plain(session)
    drafter = PromptLookup() if options.speculate == "lookup" else BasePlanes(session)
    return Speculative(session, drafter, options.draft_tokens)
