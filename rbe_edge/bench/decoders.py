"""What the benchmark of power modes times: prompts and tokens, ours and llama.cpp's, in the same shape."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from rbe_edge.bench.workloads import arbitrary_tokens
from rbe_edge.llama_cpp.peer import Llama
from rbe_edge.runtime.session import Session


class Decoder(Protocol):
    """A prompt of prompt_tokens, and tokens one by one behind it; where the answer is full, a new one begins behind the
    same prompt. Token ids are arbitrary: the time does not depend on them."""

    prompt_tokens: int
    answer_tokens: int

    def prompt(self) -> float:
        """Seconds from an empty context to the logits behind the prompt. Raises Cancelled on Ctrl-C."""
        ...

    def tokens(self, count: int) -> Sequence[float]:
        """Seconds of each of so many tokens."""
        ...


class OwnDecoder:
    """A session whose context holds both."""

    def __init__(self, session: Session, prompt_tokens: int, answer_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens
        self._session = session
        self._vocabulary = session.model.info.vocabulary
        self._prompt = arbitrary_tokens(prompt_tokens, self._vocabulary)
        self._answered = 0

    def prompt(self) -> float:
        self._session.rewind(0)
        self._answered = 0
        began = time.perf_counter()
        self._session.prefill(self._prompt)
        return time.perf_counter() - began

    def tokens(self, count: int) -> Sequence[float]:
        session, times = self._session, []
        for _ in range(count):
            if self._answered == self.answer_tokens:
                session.rewind(self.prompt_tokens)
                self._answered = 0
            token = arbitrary_tokens(1, self._vocabulary, self._answered)
            began = time.perf_counter()
            session.prefill(token)
            times.append(time.perf_counter() - began)
            self._answered += 1
        return times


class PeerDecoder:
    """llama.cpp, with a context that holds both."""

    def __init__(self, llama: Llama, prompt_tokens: int, answer_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens
        self._llama = llama
        self._answered = 0

    def prompt(self) -> float:
        self._answered = 0
        seconds, _ = self._llama.run("pp", self.prompt_tokens, 0)
        return seconds

    def tokens(self, count: int) -> Sequence[float]:
        times: list[float] = []
        while len(times) < count:
            if self._answered == self.answer_tokens:
                self._answered = 0
            piece = min(count - len(times), self.answer_tokens - self._answered)
            _, found = self._llama.run("tg", piece, self.prompt_tokens + self._answered)
            self._answered += piece
            times += found
        return times
