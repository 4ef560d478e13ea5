"""The picture of the chat client in README.md: the real client, with answers of the demo model.

    python tools/client_picture.py docs/images/client.svg

The client runs without a terminal on 100x30, keeps nothing, and is asked two questions. What it shows then becomes an
SVG that asks nothing of the network: whoever looks at it needs a font of equal widths.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from rbe_edge.store.conversations import ConversationStore
from rbe_edge.tui.app import Client
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.start import Start
from rbe_edge.tui.widgets.prompt_area import PromptArea

_QUESTIONS = ("How does a battery age?", "Tell me a story about a cat.")
_SIZE = (100, 30)
_FOREIGN_FONTS = re.compile(r"@font-face\s*\{.*?\}", re.DOTALL)


async def picture() -> str:
    start = Start(model=None, models_directory=Path("/nonexistent"), settings={"temperature": 0.0})
    client = Client(start, ConversationStore(None), Engine())
    async with client.run_test(size=_SIZE) as pilot:
        while client.engine.loaded is None:
            await asyncio.sleep(0.01)
        for question in _QUESTIONS:
            await pilot.pause(0.5)
            prompt = client.chat_screen.query_one(PromptArea)
            prompt.insert(question)
            prompt.action_submit()
            await asyncio.sleep(0.05)
            while client.chat_screen.busy:
                await asyncio.sleep(0.02)
        await pilot.pause(3.0)  # what the status line says of the machine is read every other second
        image = client.export_screenshot(title="rbe chat")
        await client.engine.close()
    return _FOREIGN_FONTS.sub("", image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.parse_args().out.write_text(asyncio.run(picture()), encoding="utf-8")


if __name__ == "__main__":
    main()
