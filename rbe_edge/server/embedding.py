"""Embeddings of a model, one text at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from rbe_edge.errors import Cancelled
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.runtime.session import Session
from rbe_edge.server.scheduler import QueueFull, Stopped


class Embedding:
    """A session of its own, made when it is first needed, for one text at a time: requests take turns text by text."""

    def __init__(self, model: Model, options: SessionOptions, queue_limit: int) -> None:
        self._model, self._options, self._queue_limit = model, options, queue_limit
        self._session: Session | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._computing = threading.Lock()
        self._is_closed = False

    async def vectors(self, inputs: Sequence[Sequence[int]], gone: Callable[[], Awaitable[bool]]) -> list[list[float]]:
        """Raises QueueFull, Cancelled once gone() says so, and Stopped after close()."""
        if self._waiting > self._queue_limit:
            raise QueueFull(1)
        self._waiting += 1
        found = []
        try:
            for tokens in inputs:
                async with self._turn:
                    if await gone():
                        raise Cancelled("the client went away")
                    found.append(await asyncio.to_thread(self._computed, list(tokens)))
            return found
        finally:
            self._waiting -= 1

    def _computed(self, tokens: list[int]) -> list[float]:
        with self._computing:
            if self._is_closed:
                raise Stopped("the server is stopping")
            if self._session is None:
                self._session = Session(self._model, self._options)
            vector: list[float] = self._session.embedding(tokens).tolist()
            return vector

    def close(self) -> None:
        """Waits for the text that is being computed."""
        with self._computing:
            self._is_closed = True
            if self._session is not None:
                self._session.close()
