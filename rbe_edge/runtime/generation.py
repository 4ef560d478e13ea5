"""Generated text as users get it: prefills the prompt, then steps an EngineGeneration (engine_generation.py)."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rbe_edge.errors import OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.engine_generation import EngineGeneration
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.runtime.speculation import Acceptance, continuation

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_session import EngineSession

FinishReason = Literal["end", "stop", "length", "context", "interrupted"]


@dataclass(frozen=True)
class Statistics:
    """What a generation took. prompt_tokens: those that were computed, not those that the context already held.
    finish: `end` of the text by the model, a `stop` sequence, the `length` asked for, the `context` is full, or the
    work was `interrupted`. drafted_tokens, accepted_tokens: by speculation, guessed and right."""

    prompt_tokens: int
    generated_tokens: int
    prompt_seconds: float
    generation_seconds: float
    finish: FinishReason
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Of generation. The first token comes with the prefill and is not counted."""
        if self.generation_seconds <= 0 or self.generated_tokens < 2:
            return 0.0
        return (self.generated_tokens - 1) / self.generation_seconds


class Generation(Iterator[str]):
    """An iterator of pieces of text, each valid by itself, which together are the text.

    Nothing is computed before the first piece is asked for. After an exception or close(), Ctrl-C included, the session
    holds the prompt and every token that was appended, and can go on. Session.cancel() makes it raise Cancelled.
    """

    def __init__(
        self, session: EngineSession, prompt: str | Sequence[int], options: GenerationOptions, progress: Report | None
    ) -> None:
        is_encoded = session.model.encoder_decoder is not None
        if isinstance(prompt, str):
            if not prompt:
                raise OptionError("the prompt is empty; give some text to continue")
            prompt = session.model.tokenize(prompt, special=session.position == 0 or is_encoded)
        if len(prompt) == 0:
            raise OptionError("the prompt is empty; give some text to continue")
        if not is_encoded:
            session.check_room(len(prompt), "the prompt")
        self._session = session
        self._prompt = prompt
        self._options = options
        self._progress = progress
        self._prompt_seconds = 0.0
        self._generation_seconds = 0.0
        self._finish: FinishReason = "interrupted"
        self._acceptance: Acceptance | None = None
        self._stopping = False
        self.tokens: list[int] = []
        self._pieces = self._run()

    def __repr__(self) -> str:
        return f"<Generation on {self._session!r}, {len(self.tokens)} tokens so far>"

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Ends the generation where it is."""
        self._pieces.close()

    def stop(self) -> None:
        """Ends the generation at the next token; during the prompt's prefill it raises Cancelled after the next pass.
        Any thread, at any time."""
        self._stopping = True

    def _report(self, done: int, total: int) -> object:
        return self._stopping or (self._progress is not None and self._progress(done, total) is True)

    @property
    def statistics(self) -> Statistics:
        """So far; complete once the iterator has ended."""
        return Statistics(
            prompt_tokens=len(self._prompt),
            generated_tokens=len(self.tokens),
            prompt_seconds=self._prompt_seconds,
            generation_seconds=self._generation_seconds,
            finish=self._finish,
            drafted_tokens=self._acceptance.drafted if self._acceptance else 0,
            accepted_tokens=self._acceptance.accepted if self._acceptance else 0,
        )

    def _run(self) -> Generator[str, None, None]:
        session, options = self._session, self._options
        with ExitStack() as stack:
            began = time.perf_counter()
            session.take_prompt(self._prompt, progress=self._report)
            engine = stack.enter_context(
                EngineGeneration(
                    session,
                    options.sampling,
                    max_tokens=options.max_tokens,
                    stop=options.stop,
                    ignore_end=options.ignore_end,
                )
            )
            self._prompt_seconds = time.perf_counter() - began
            steps = stack.enter_context(closing(continuation(session, options)))
            self._acceptance = steps.acceptance
            began = time.perf_counter()
            while not self._stopping:
                event = steps.step(engine)
                if event.token is not None and event.finish != "end":
                    self.tokens.append(event.token)
                if event.finish is not None and event.finish != "caller":
                    self._finish = event.finish
                self._generation_seconds += time.perf_counter() - began
                if event.text:
                    yield event.text
                if event.rest:
                    yield event.rest
                if event.finish is not None:
                    return
                began = time.perf_counter()  # what the reader of the pieces takes is not ours
            rest = engine.end()
            if rest:
                yield rest
