"""Driving the client in tests: it runs without a terminal, on 80 columns and 24 lines, with the demo model."""

from __future__ import annotations

import asyncio
import functools
import html
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from rbe_edge.store.conversations import ConversationStore
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.client import Client, Start
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.prompt_area import PromptArea

SIZE = (80, 24)
_PATIENCE_S = float(os.environ.get("RBE_TEST_PATIENCE_S", "30"))  # on a loaded machine


def played(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an asynchronous test."""

    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        async def whole() -> None:
            await test(*arguments, **fixtures)

        asyncio.run(whole())

    return run


class Driver:
    """A running client and the person before it."""

    def __init__(self, client: Client, pilot: Pilot[None]) -> None:
        self.client = client
        self.pilot = pilot

    @property
    def chat(self) -> Any:
        return self.client.chat_screen.chat

    @property
    def said(self) -> list[str]:
        return [message.content for message in self.chat.messages]

    @property
    def position(self) -> int:
        """Tokens in the context, while an answer is given."""
        feed = self.client.chat_screen._feed
        return 0 if feed is None else feed.position

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Waits; fails with the screen's text where it does not come true."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        wait = 0.01
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what}\n" + "\n".join(self.lines())
            await asyncio.sleep(wait)
            wait = min(2 * wait, 0.1)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    async def finished(self) -> None:
        """Until no answer is being given and the screen has settled."""
        await self.until(lambda: not self.client.chat_screen.busy, "the answer never ended")
        await self.pilot.pause(0.05)

    async def say(self, text: str) -> None:
        """Asks and waits for the answer."""
        self.client.chat_screen.query_one(PromptArea).insert(text)
        await self.press("enter")
        await self.finished()

    def ask(self, text: str) -> None:
        """Asks, and waits for nothing: keys that the pilot presses wait until the client has nothing to do."""
        prompt = self.client.chat_screen.query_one(PromptArea)
        prompt.insert(text)
        prompt.action_submit()

    async def sees(self, *texts: str) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.text(), f"{text!r} is not on the screen")

    async def told(self, text: str) -> None:
        """Waits for a message that goes by itself; its lines break where they please, so the screen is not read."""
        await self.until(
            lambda: any(text in told.message for told in self.client._notifications), f"not told: {text!r}"
        )

    def text(self) -> str:
        return " ".join(" ".join(self.lines()).split())

    def lines(self) -> list[str]:
        return screen_lines(self.client.export_screenshot(simplify=True))


def screen_lines(svg: str) -> list[str]:
    """The lines of text on a screen that was exported as SVG."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*clip-path[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return ["".join(text for _, text in sorted(rows[y])) for y in sorted(rows)]


def structure(lines: list[str]) -> str:
    """What of a screen does not change from machine to machine: no frames, no numbers, no width of spaces."""
    kept = []
    for line in lines:
        letters = "".join(" " if unicodedata.category(c) == "So" or "\u2500" <= c <= "\u28ff" else c for c in line)
        words = " ".join(re.sub(r"\d+([.,:]\d+)*", "#", letters).split())
        if words:
            kept.append(words)
    return "\n".join(kept) + "\n"


@asynccontextmanager
async def client(
    *,
    store: ConversationStore | None = None,
    model: Path | None = None,
    directory: Path = Path("/nonexistent"),
    engine: Engine | None = None,
    size: tuple[int, int] = SIZE,
    states: Path | None = None,
    **start: Any,
) -> AsyncIterator[Driver]:
    """A client that is ready: its model is open. Conversations are kept in memory unless a store is given."""
    start.setdefault("settings", {})
    app = Client(
        Start(model=model, models_directory=directory, **start),
        store or ConversationStore(None),
        engine or Engine(),
        states=StateFiles(states),
    )
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = Driver(app, pilot)
        await driver.until(lambda: app.engine.loaded is not None and "rbe ·" in driver.text(), "the model never opened")
        yield driver
        await app.chat_screen.settle()
        await app.engine.close()
