"""How long the chat client's event loop stands still while an answer is generated.

    python tools/tui_stall.py                          the demo model
    python tools/tui_stall.py smol.rbe --tokens 400

The client runs without a terminal on 80x24, as in its tests. A task sleeps for 5 ms again and again; by how much it
oversleeps is how long a key would have waited. Three texts: what the model says; a long paragraph; and Markdown with
lists, a table and code, fed piece by piece at a rate. Prints the longest stall, how much of it the event loop's
thread was computing (the rest it waited for a processor, which on a busy machine others have), and the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.runtime.session import Session
from rbe_edge.store.conversations import ConversationStore
from rbe_edge.tui.app import Client
from rbe_edge.tui.engine import Engine, Feed, Outcome, Question
from rbe_edge.tui.start import Start
from rbe_edge.tui.widgets.prompt_area import PromptArea

_TICK_S = 0.005
_TARGET_S = 0.05
_SECTION = (
    "## Section\n\nSome *emphasis*, **strong** and `code` in a line of text.\n\n"
    "- one thing\n- another thing\n  - inside\n\n"
    "| name | value |\n|---|---|\n| left | right |\n| up | down |\n\n"
    "```python\ndef f(x):\n    return [x, 'text']\n```\n\n"
)


class Scripted(Engine):
    """Says a text at a given rate of pieces of four characters, about a token each."""

    def __init__(self, text: str, pieces_per_second: float) -> None:
        super().__init__()
        self._text = text
        self._rate = pieces_per_second

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        began = time.perf_counter()
        for index, at in enumerate(range(0, len(self._text), 4)):
            time.sleep(max(0.0, began + index / self._rate - time.perf_counter()))
            feed.put(self._text[at : at + 4], index + 1)
        return Outcome(self._text, None, 0, None)


async def _oversleeps(found: list[tuple[float, float]]) -> None:
    """(seconds overslept, seconds of them that this thread computed) of each tick."""
    while True:
        began, worked = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_TICK_S)
        found.append((time.perf_counter() - began - _TICK_S, time.thread_time() - worked))


async def measure(what: str, engine: Engine, model: Path | None, n_tokens: int) -> float:
    start = Start(
        model=model,
        models_directory=Path("/nonexistent"),
        settings={"max_tokens": n_tokens, "temperature": 0.7},
        generation=GenerationOptions(ignore_end=True),
    )
    client = Client(start, ConversationStore(None), engine)
    found: list[tuple[float, float]] = []
    async with client.run_test(size=(80, 24)) as pilot:
        while engine.loaded is None:
            await asyncio.sleep(0.01)
        await pilot.pause(1.0)
        ticking = asyncio.create_task(_oversleeps(found))
        prompt = client.chat_screen.query_one(PromptArea)
        prompt.insert("tell me a story")
        prompt.action_submit()
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        while client.chat_screen.busy:
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        ticking.cancel()
        characters = len(client.chat_screen.chat.messages[-1].content)
        await engine.close()
    found.sort()
    longest, worked = found[-1]
    usual = found[int(len(found) * 0.99)][0]
    print(
        f"{what}: longest {longest * 1e3:.1f} ms ({worked * 1e3:.1f} ms of it computing), most computing "
        f"{max(worked for _, worked in found) * 1e3:.1f} ms, 99 % under {usual * 1e3:.1f} ms, "
        f"{len(found)} ticks, {characters} characters in {seconds:.1f} s"
    )
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="a .rbe file (the demo)")
    parser.add_argument("--tokens", type=int, default=500, help="of each answer (%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="tokens/s of the scripted texts (%(default)s)")
    arguments = parser.parse_args()
    n = arguments.tokens
    longest = [
        asyncio.run(measure("the model", Engine(), arguments.model, n)),
        asyncio.run(measure("one paragraph", Scripted(("word " * n)[: 4 * n], arguments.rate), arguments.model, n)),
        asyncio.run(measure("Markdown", Scripted((_SECTION * n)[: 4 * n], arguments.rate), arguments.model, n)),
    ]
    print(f"longest of all {max(longest) * 1e3:.1f} ms, target {_TARGET_S * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
