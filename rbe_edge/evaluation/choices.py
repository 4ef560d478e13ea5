"""Which of several answers a model finds most likely.

For each answer the log-likelihood of its tokens behind the question is summed. The answer with the largest sum is what
`accuracy` counts; `accuracy_normalised` counts the one with the largest sum over the number of its letters, which does
not favour short answers (acc and acc_norm of lm-evaluation-harness, EleutherAI). The first of equals wins.

Tokens are those of question and answer together; the question's are as many as it has alone, and blanks at its end
belong to the answer, as there. In front stands what the model's tokenizer puts before a text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.choices_file import Question
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.session import Session


class Reader(Protocol):
    """What reads a text and says how likely others are behind it."""

    def log_likelihoods(self, context: str, continuations: Sequence[str]) -> Sequence[float]:
        """ln p of each continuation behind the context, in nats."""
        ...


@dataclass(frozen=True)
class Pick:
    """What a model chose, from 0: by likelihood, and by likelihood per letter."""

    likeliest: int
    normalised: int


def pick(reader: Reader, questions: Sequence[Question], progress: Progress) -> list[Pick]:
    """The choices for questions, which progress counts one by one."""
    picks = []
    for question in questions:
        found = reader.log_likelihoods(question.context, [f" {choice}" for choice in question.choices])
        per_letter = [nats / len(choice) for nats, choice in zip(found, question.choices, strict=True)]
        picks.append(Pick(_largest(found), _largest(per_letter)))
        progress.done += 1
        progress.tell()
    return picks


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda at: values[at])


class SessionReader:
    """A model as a Reader. The question is read once; from its last token on every answer is read, and forgotten. A
    context manager, for one thread."""

    def __init__(
        self,
        model: Model,
        questions: Sequence[Question],
        *,
        threads: int = 0,
        planes: int = 0,
        effort: Effort | None = None,
    ) -> None:
        """questions: all that will be asked, which decide how long the context is: at most the model's own. threads: 0
        is one per fast core. planes: of each tensor, 0 for all. effort: how much is read instead."""
        self._model = model
        longest = max(
            len(encoded(model, question.context, f" {choice}")[0])
            for question in questions
            for choice in question.choices
        )
        self._context = min(model.info.context, longest)
        self.cut = 0  # answers whose question lost its beginning, for it did not fit
        self._session: Session = model.session(context=max(2, self._context), threads=threads, planes=planes)
        if effort is not None:
            self._session.set_effort(effort)

    def __enter__(self) -> SessionReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def log_likelihoods(self, context: str, continuations: Sequence[str]) -> list[float]:
        return [self._log_likelihood(*encoded(self._model, context, text)) for text in continuations]

    def _log_likelihood(self, tokens: list[int], start: int) -> float:
        """Of the tokens from start on."""
        over = len(tokens) - self._context
        if over > 0:  # the harness too leaves out the beginning
            self.cut += 1
            if start - over < 1:
                raise OptionError(f"an answer has {len(tokens) - start} tokens, the context holds {self._context}")
            tokens, start = tokens[over:], start - over
        session = self._session
        held = session.common(tokens[: start - 1])
        session.rewind(held)
        if held < start - 1:
            session.prefill(tokens[held : start - 1])
        return math.fsum(session.score(tokens[start - 1 :]).log_probabilities.tolist())


def encoded(model: Model, context: str, continuation: str) -> tuple[list[int], int]:
    """The tokens of both together, and how many of them are the context's, one at least."""
    bare = context.rstrip()
    tokens = model.tokenize(context + continuation)
    start = len(model.tokenize(bare if bare else context))
    return tokens, max(1, min(start, len(tokens) - 1))
