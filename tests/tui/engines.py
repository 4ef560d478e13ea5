"""Engines that say what a test wants."""

from __future__ import annotations

import asyncio
import threading

from rbe_edge.runtime.session import Session
from rbe_edge.tui.engine import Engine, Feed, Outcome, Question


class Halted(Engine):
    """An engine whose answer comes half, and then no further until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.halt = threading.Event()

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        feed.put("Once upon a time there was a battery that", 41)
        self.halt.wait(30)
        return Outcome("Once upon a time there was a battery that", None, 0, None)

    def stop(self) -> None:
        super().stop()
        self.halt.set()


class Late(Engine):
    """An engine that begins with an answer when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_begin = asyncio.Event()

    async def answer(self, question: Question, feed: Feed) -> Outcome:
        await self.may_begin.wait()
        return await super().answer(question, feed)


class Said(Engine):
    """Says these texts in turn, and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = list(texts)
        self.questions: list[Question] = []

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        self.questions.append(question)
        text = self.texts.pop(0)
        if text:
            feed.put(text, 7)
        return Outcome(text, None, 0, None)
