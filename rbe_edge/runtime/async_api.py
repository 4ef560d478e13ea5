"""Generation for asyncio: the engine runs on a thread, the event loop goes on.

    async for piece in pieces(conversation.send("Hello!")):
        print(piece, end="", flush=True)

Each stream has one thread of its own, which makes every call on its session; the thread works only while a piece is
waited for. Cancelling the task, or leaving the loop and closing the generator, stops the engine at the next token or,
in the prompt, after the next prefill pass, and returns once it has stopped: the session is then free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from rbe_edge.errors import Cancelled

_T = TypeVar("_T")


class Stoppable(Protocol):
    """What yields pieces of text and can be told from another thread to end: a Generation or a Reply."""

    def __next__(self) -> str: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


async def pieces(generation: Stoppable) -> AsyncGenerator[str, None]:
    """The pieces of a Generation or a Reply, which must not have been begun elsewhere.

    Close it (contextlib.aclosing) where the loop over it may be left early: else the engine stops only when the
    generator is collected. Statistics are on `generation`, as ever.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="rbe-stream") as executor:
        try:
            while (piece := await _stoppable(executor, lambda: next(generation, None), generation.stop)) is not None:
                yield piece
        finally:
            generation.stop()
            await _stoppable(executor, generation.close, generation.stop)


async def _stoppable(executor: ThreadPoolExecutor, work: Callable[[], _T], stop: Callable[[], None]) -> _T:
    """work() on the executor's thread. Where the task is cancelled meanwhile, stops it and waits for it first."""
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:  # once more; it ends all the same
                continue
        error = future.exception()
        if error is not None and not isinstance(error, Cancelled):
            raise error from None
        raise
