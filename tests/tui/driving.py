"""Driving the client in tests: it runs without a terminal, on 80 columns and 24 lines, with the demo model."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from snapshots import text_lines
from textual import events
from textual.pilot import Pilot

from rbe_edge.store.conversations import ConversationStore
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.app import Client
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.start import Start
from rbe_edge.tui.widgets.prompt_area import PromptArea

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


class Threads(ThreadPoolExecutor):
    """What asyncio.to_thread runs on, counting what runs."""

    def __init__(self) -> None:
        super().__init__(max_workers=4)
        self.running: set[Future[Any]] = set()

    def submit(self, *call: Any, **named: Any) -> Future[Any]:
        future = super().submit(*call, **named)
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        return future


class Driver:
    """A running client and the person before it."""

    def __init__(self, client: Client, pilot: Pilot[None], threads: Threads) -> None:
        self.client = client
        self.pilot = pilot
        self._threads = threads

    @property
    def chat(self) -> Any:
        return self.client.chat_screen.chat

    @property
    def said(self) -> list[str]:
        return [message.content for message in self.chat.messages]

    @property
    def position(self) -> int:
        """Tokens in the context, while an answer is given."""
        screen = self.client.chat_screen
        return screen.position if screen.busy else 0

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Waits; fails with the screen's text where it does not come true."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        wait = 0.002
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what}\n" + "\n".join(self.lines())
            await asyncio.sleep(wait)
            wait = min(2 * wait, 0.05)

    async def press(self, *keys: str) -> None:
        """Letters, digits and keys by name, each when what the one before it asked for has been done. Pilot.press()
        waits for the process to be idle, a tenth of a second for each key."""
        for key in keys:
            character = " " if key == "space" else key if len(key) == 1 else None
            self.client.post_message(events.Key(key, character))
            await self.settled()

    async def settled(self) -> None:
        """Until all messages are taken and no thread but the engine's works; work that goes on is not waited for."""
        quiet = 0
        for _ in range(100):
            await self.pilot.pause(0)
            quiet = 0 if self._threads.running else quiet + 1
            if quiet == 5:  # a message begets another: a key one for the widget, that one for its screen
                return
            if not quiet:
                await asyncio.sleep(0.005)

    async def type(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    async def finished(self) -> None:
        """Until no answer is being given and the screen has settled."""
        await self.until(lambda: not self.client.chat_screen.busy, "the answer never ended")
        await self.settled()

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
        return text_lines(self.image())

    def image(self) -> str:
        """The screen as SVG."""
        return self.client.export_screenshot(simplify=True)


@asynccontextmanager
async def client(
    *,
    store: ConversationStore | None = None,
    model: Path | None = None,
    directory: Path = Path("/nonexistent"),
    engine: Engine | None = None,
    size: tuple[int, int] = SIZE,
    states: Path | None = None,
    warning: str = "",
    **start: Any,
) -> AsyncIterator[Driver]:
    """A client that is ready: its model is open. Conversations are kept in memory unless a store is given."""
    start.setdefault("settings", {})
    app = Client(
        Start(model=model, models_directory=directory, **start),
        store or ConversationStore(None),
        engine or Engine(),
        states=StateFiles(states),
        warning=warning,
    )
    app.animation_level = "none"
    app.environment = {}  # copying reaches no tmux or desktop of the person who runs the tests
    threads = Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = Driver(app, pilot, threads)
        await driver.until(lambda: app.engine.loaded is not None and "rbe ·" in driver.text(), "the model never opened")
        await driver.until(lambda: not app._starting, "it never said that it started")
        yield driver
        await app.chat_screen.settle()
        await app.engine.close()
        app.workers.cancel_all()  # as leaving does
        await driver.until(lambda: all(worker.is_finished for worker in app.workers), "a worker did not end")
