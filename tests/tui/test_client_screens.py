"""Each screen on 80 columns and 24 lines, compared with what it showed when a person last looked at it.

The dumps hold the words of a screen, without frames, numbers and widths. After a change that is meant:
RBE_WRITE_SCREENS=1 python -m pytest tests/tui/test_client_screens.py, and look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from driving import Driver, client, played, structure

from rbe_edge.store.conversations import ConversationStore, StoredMessage

SCREENS = Path(__file__).parent / "screens"
MARKDOWN = (
    "# Heading\n\nSome *emphasis*, **strong** and `code`.\n\n- one\n- two\n\n1. first\n\n"
    "| a | b |\n|---|---|\n| left | right |\n\n```python\nprint('hello')\n```\n\n> quoted"
)


def check(it: Driver, name: str) -> None:
    lines = it.lines()
    assert len(lines) <= 24
    found, path = structure(lines), SCREENS / f"{name}.txt"
    if os.environ.get("RBE_WRITE_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


WALK = (
    ("chat", (), "nice to meet you"),
    ("keys", ("f1",), "Ctrl+J"),
    ("settings", ("f2",), "Threads"),
    ("models", ("f3",), "the demo"),
    ("pack", ("f3", "ctrl+n"), "Repository"),
    ("conversations", ("ctrl+o",), "Search titles"),
    ("rename", ("ctrl+o", "ctrl+r"), "The new title"),
    ("delete", ("ctrl+o", "ctrl+d"), "cannot be"),
    ("palette", ("ctrl+p",), "Again"),
    ("edit", ("ctrl+g",), "changing the last question"),
    ("plots", ("f4",), "°C"),
)


@played
async def test_every_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    from rbe_edge.tui import device

    monkeypatch.chdir("/")
    monkeypatch.setattr(device, "read", lambda: device.Readings(50 << 20, 1 << 30, 80.0, False, None))
    async with client() as it:
        await it.say("hello")
        await it.until(lambda: it.client.readings is not None)
        it.client.chat_screen.show_status()
        for name, keys, sees in WALK:
            for key in keys:
                await it.press(key)
            await it.sees(sees)
            await it.pilot.pause(0.1)
            check(it, name)
            while it.client.screen is not it.client.chat_screen:
                await it.press("escape")
            await it.press("escape")


def test_markdown() -> None:
    store = ConversationStore(None)
    store.write(store.new("m"), 0, [StoredMessage("user", "show me"), StoredMessage("assistant", MARKDOWN)])

    @played
    async def flow() -> None:
        async with client(store=store, size=(80, 50)) as it:
            await it.sees("quoted", "hello")
            text = it.text()
            for sign in ("**", "`", "# H", "|---|", "- one"):
                assert sign not in text
            for word in ("Heading", "• one", "1. first", "left", "right", "print('hello')"):
                assert word in text

    flow()


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_every_size_can_be_used(size: tuple[int, int]) -> None:
    @played
    async def flow() -> None:
        async with client(size=size) as it:
            it.ask("hello")
            await it.until(lambda: len(it.said) == 2, "no answer")
            await it.finished()
            for key in ("f1", "f2", "f3", "ctrl+o", "f4"):
                await it.press(key, "escape")
            prompt = it.client.chat_screen.query_one("#prompt")
            assert prompt.region.bottom <= size[1] and prompt.region.right <= size[0]

    flow()
