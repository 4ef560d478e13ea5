"""Puts texts of requests that wait at the same time together into one call of the engine.

A call takes a text of each request in turn until it is full, so that a request of one text never waits for all of one
with thousands.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from rbe_edge.errors import Cancelled
from rbe_edge.server.scheduler import QueueFull, Stopped

_Text = TypeVar("_Text")
_Result = TypeVar("_Result")


class _Request(Generic[_Text, _Result]):
    """results: of the first texts, as far as they were computed."""

    def __init__(self, texts: Sequence[_Text]) -> None:
        self.texts = texts
        self.results: list[_Result] = []

    @property
    def is_done(self) -> bool:
        return len(self.results) == len(self.texts)


class Together(Generic[_Text, _Result]):
    """Use on one event loop; close() on any thread."""

    def __init__(
        self,
        compute: Callable[[list[_Text]], Sequence[_Result]],
        cost: Callable[[_Text], int],
        most: int,
        queue_limit: int,
    ) -> None:
        """compute: a result for each text, in a thread, one call at a time. cost: of a text. most: of the texts of a
        call together; one text alone may cost more. queue_limit: requests that may wait."""
        self._compute, self._cost, self._most, self._queue_limit = compute, cost, most, queue_limit
        self._requests: list[_Request[_Text, _Result]] = []
        self._turn = asyncio.Lock()
        self._computing = threading.Lock()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Requests whose results are not all there."""
        return len(self._requests)

    async def results(self, texts: Sequence[_Text], gone: Callable[[], Awaitable[bool]]) -> list[_Result]:
        """A result for each text. Raises QueueFull, Cancelled once gone() says so, Stopped after close(), and what
        compute raises."""
        if len(self._requests) > self._queue_limit:
            raise QueueFull(1)
        mine = _Request[_Text, _Result](texts)
        self._requests.append(mine)
        try:
            while not mine.is_done:
                async with self._turn:  # whoever has it computes for all; waiters get it in their order
                    if mine.is_done:
                        break
                    if await gone():
                        raise Cancelled("the client went away")
                    await self._step(mine)
            return mine.results
        finally:
            self._requests.remove(mine)

    async def _step(self, first: _Request[_Text, _Result]) -> None:
        """Computes texts of all that wait, of `first` at least one."""
        taken = self._taken(first)
        texts = [text for request, count in taken for text in _next(request, count)]
        found = list(await asyncio.to_thread(self._computed, texts))
        for request, count in taken:
            request.results += found[:count]
            del found[:count]

    def _taken(self, first: _Request[_Text, _Result]) -> list[tuple[_Request[_Text, _Result], int]]:
        """Whose texts the next call computes, and how many of each."""
        counts = {request: 0 for request in [first, *(one for one in self._requests if one is not first)]}
        open_ones, cost = list(counts), 0
        while open_ones:
            for request in list(open_ones):
                place = len(request.results) + counts[request]
                more = self._cost(request.texts[place]) if place < len(request.texts) else None
                if more is None or (cost and cost + more > self._most):
                    open_ones.remove(request)
                    continue
                cost += more
                counts[request] += 1
        return [(request, count) for request, count in counts.items() if count]

    def _computed(self, texts: list[_Text]) -> Sequence[_Result]:
        with self._computing:
            if self._is_closed:
                raise Stopped("the server is stopping")
            return self._compute(texts)

    def close(self) -> None:
        """Waits for the call that runs; none begins afterwards."""
        with self._computing:
            self._is_closed = True


def _next(request: _Request[_Text, _Result], count: int) -> Sequence[_Text]:
    first = len(request.results)
    return request.texts[first : first + count]
