"""Texts of requests that wait are put together into calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from rbe_edge.errors import Cancelled
from rbe_edge.server.scheduler import QueueFull, Stopped
from rbe_edge.server.together import Together


class Calls:
    """A test double of an encoder: a text's result is itself in capitals. gate: held shut while a call waits."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, texts: list[str]) -> Sequence[str]:
        self.calls.append(texts)
        assert self.gate.wait(30)
        if "bad" in texts:
            raise ValueError("a bad text")
        return [text.upper() for text in texts]


async def here() -> bool:
    return False


async def _waits(together: Together[str, str], count: int) -> None:
    while together.waiting < count:
        await asyncio.sleep(0)


def test_requests_share_a_call() -> None:
    async def main() -> None:
        calls = Calls()
        together = Together[str, str](calls, len, 6, 9)
        calls.gate.clear()
        first = asyncio.create_task(together.results(["a"], here))
        while not calls.calls:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(together.results(texts, here)) for texts in (["bb", "cc", "dd"], ["ee"], [])]
        await _waits(together, 3)
        calls.gate.set()
        assert await first == ["A"]
        assert await asyncio.gather(*others) == [["BB", "CC", "DD"], ["EE"], []]
        # One text of each in turn until a call is full: of six, so of three texts.
        assert calls.calls == [["a"], ["bb", "cc", "ee"], ["dd"]]
        assert together.waiting == 0

    asyncio.run(main())


def test_a_large_request_delays_others_by_one_call() -> None:
    async def main() -> None:
        calls = Calls()
        together = Together[str, str](calls, len, 4, 9)
        large = asyncio.create_task(together.results(["xx"] * 100, here))
        await _waits(together, 1)
        assert await together.results(["yy"], here) == ["YY"]
        assert not large.done() and len(calls.calls) <= 2
        assert await large == ["XX"] * 100
        assert sum(map(len, calls.calls)) == 101 and max(map(len, calls.calls)) == 2

    asyncio.run(main())


def test_a_text_that_costs_more_than_a_call_goes_alone() -> None:
    async def main() -> None:
        calls = Calls()
        together = Together[str, str](calls, len, 3, 9)
        assert await together.results(["a" * 9, "b", "c"], here) == ["A" * 9, "B", "C"]
        assert calls.calls == [["a" * 9], ["b", "c"]]

    asyncio.run(main())


def test_who_has_gone_is_computed_no_further() -> None:
    async def main() -> None:
        calls = Calls()
        together = Together[str, str](calls, len, 1, 9)
        asked = 0

        async def leaves() -> bool:
            nonlocal asked
            asked += 1
            return asked > 3

        with pytest.raises(Cancelled):
            await together.results(["a"] * 100, leaves)
        assert len(calls.calls) == 3 and together.waiting == 0

    asyncio.run(main())


def test_errors_and_limits() -> None:
    async def main() -> None:
        calls = Calls()
        together = Together[str, str](calls, len, 9, 1)
        with pytest.raises(ValueError, match="a bad text"):
            await together.results(["bad"], here)
        calls.gate.clear()
        waiting = [asyncio.create_task(together.results(["a"], here)) for _ in range(2)]
        await _waits(together, 2)
        with pytest.raises(QueueFull):
            await together.results(["b"], here)
        calls.gate.set()
        assert await asyncio.gather(*waiting) == [["A"], ["A"]]
        together.close()
        with pytest.raises(Stopped):
            await together.results(["a"], here)

    asyncio.run(main())
