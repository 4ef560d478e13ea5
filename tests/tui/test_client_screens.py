"""Each screen as an image, compared with what it was when a person last looked at it: dark on 80 columns and 24 lines,
light on a larger terminal.

The images lie in tests/tui/screens, for any browser. After a change that is meant, this renews them; look at them then:
RBE_WRITE_SCREENS=1 python -m pytest tests/tui/test_client_screens.py
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from driving import Driver, client, played
from engines import Halted
from snapshots import WRITES, cells, check_image, differences, drawn
from textual.widgets import Input

from rbe_edge.machine import sensors
from rbe_edge.runtime import fit
from rbe_edge.sources import hub
from rbe_edge.store.conversations import ConversationStore, StoredMessage
from rbe_edge.tui import app
from rbe_edge.tui.catalogue import Details
from rbe_edge.tui.room import Need, Plan
from rbe_edge.tui.screens import model_screen, pack_screen
from rbe_edge.tui.screens.model_screen import Choice
from rbe_edge.tui.settings import DARK, LIGHT
from rbe_edge.tui.widgets.status import Meters

SCREENS = Path(__file__).parent / "screens"
MARKDOWN = (
    "# Heading\n\nSome *emphasis*, **strong** and `code`.\n\n- one\n- two\n\n1. first\n\n"
    "| a | b |\n|---|---|\n| left | right |\n\n```python\nprint('hello')\n```\n\n> quoted"
)


def conversations() -> ConversationStore:
    """Two of them, both of another day."""
    store = ConversationStore(None)
    for title, question, answer in (
        ("A story", "tell me a story", "Once upon a time."),
        ("How long does it last?", "How long does the *battery* last?", MARKDOWN),
    ):
        found = store.new(title)
        store.write(found, 0, [StoredMessage("user", question), StoredMessage("assistant", answer)])
        assert store._connection is not None
        noon = time.mktime((2026, 3, found, 12, 0, 0, 0, 0, -1))
        store._connection.execute("UPDATE conversations SET updated = ? WHERE id = ?", (noon, found))
    return store


#: name, keys from the chat on, what is on the screen then
WALK = (
    ("chat", (), "quoted"),
    ("keys", ("f1",), "Ctrl+J"),
    ("settings", ("f2",), "Threads"),
    ("power", ("f7",), "by battery and heat"),
    ("models", ("f3",), "cut short"),
    ("conversations", ("ctrl+o",), "A story"),
    ("rename", ("ctrl+o", "ctrl+r"), "The new title"),
    ("delete", ("ctrl+o", "ctrl+d"), "cannot be"),
    ("export", ("f5",), "Export to"),
    ("palette", ("ctrl+p",), "Again"),
    ("edit", ("ctrl+g",), "changing the last question"),
    ("pack", ("f3", "ctrl+n"), "Repository"),
)


def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, sizes and readings that are the same wherever the test runs."""
    monkeypatch.chdir("/")
    monkeypatch.setattr(app, "READINGS_S", 3600.0)
    monkeypatch.setattr(sensors, "read", lambda: sensors.Readings(50 << 20, 1 << 30, 80.0, False, 51.0))
    models = [
        Choice(None, 2_500_000),
        Choice(Path("/models/smol.rbe"), 80_000_000),
        Choice(Path("/models/torn.rbe"), 1000),
    ]
    monkeypatch.setattr(model_screen, "find_models", lambda directories: models)
    takes = {"smol.rbe": Details(4.19, 118_000_000), "torn.rbe": Details(wrong="torn.rbe is cut short; pack it again")}
    monkeypatch.setattr(
        model_screen, "details_of", lambda path, session: takes.get(path.name, Details(4.75, 9_000_000))
    )
    monkeypatch.setattr(hub, "inquire", lambda name: hub.Offer(name, None, 269_000_000, 134_515_008))
    disk = [Need("disk of /", 900_000_000, 9_000_000_000)]
    advice = fit.Advice(False, 2048, None, 0, 0.0, 3.2, "-c 2048")
    here = fit.Available(512_000_000, 100_000_000, 0, None, "free memory")
    monkeypatch.setattr(pack_screen, "needs", lambda *_, **__: disk)
    monkeypatch.setattr(pack_screen, "plan_of", lambda *_: Plan(70_000_000, 140_000_000, advice))
    monkeypatch.setattr(fit, "available", lambda: here)
    monkeypatch.setattr(hub, "cache_directory", lambda: Path("/"))


@pytest.mark.parametrize(("theme", "size"), [(DARK, (80, 24)), (LIGHT, (120, 40))], ids=["dark", "light"])
def test_every_screen(theme: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    same_machine(monkeypatch)

    async def shown(it: Driver, name: str) -> None:
        for field in it.client.screen.query("Input, TextArea"):
            field.cursor_blink = False  # type: ignore[attr-defined]
        await it.settled()
        check_image(it.image(), SCREENS / f"{name}-{'dark' if theme == DARK else 'light'}.svg", tmp_path)

    @played
    async def walk() -> None:
        async with client(
            store=conversations(), size=size, settings={"theme": theme}, directory=Path("/models"), engine=Halted()
        ) as it:
            await it.until(lambda: it.client.chat_screen.readings is not None)
            chat = it.client.chat_screen
            chat.rate = 12.3  # of an earlier answer
            chat.holds(345)
            for name, keys, sees in WALK:
                chat.show_status()
                for key in keys:
                    await it.press(key)
                await it.sees(sees)
                await shown(it, name)
                if name == "pack":
                    it.client.screen.query_one("#repository", Input).value = "org/name"
                    await it.press("enter")
                    await it.sees("TOO LITTLE")
                    await shown(it, "pack-checked")
                while it.client.screen is not chat:
                    await it.press("escape")
                await it.press("escape")
            meters = chat.query_one(Meters)
            for value in (10, 14, 12, 13, 9, 12.3):
                meters.add_rate(value)
                meters.add_temperature(40 + value)
            await it.press("f4")
            await it.sees("°C: 52.3")
            await shown(it, "plots")
            await it.press("f4", "ctrl+n")
            await it.sees("It stays on this device")
            await shown(it, "new")
            it.ask("tell me a story")
            await it.sees("battery that", "answering")
            await it.press("enter")
            await it.press("a", "enter")
            await it.sees("waits until")
            await shown(it, "answering")
            await it.press("escape")
            await it.sees("Stopped.", "Enter says what waits")
            await shown(it, "stopped")
            await it.press("up", "backspace", "/", "e")
            await it.sees("to Markdown or JSON")
            await shown(it, "commands")

    walk()


def test_images_that_differ_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WRITES, raising=False)
    image = (SCREENS / "chat-dark.svg").read_text(encoding="utf-8")
    lines = cells(image)
    assert (len(lines), {len(line) for line in lines}) == (24, {80})
    assert differences(lines, lines) == [] and drawn(lines) == image
    other = image.replace("quoted", "quotes")
    (told,) = differences(lines, cells(other))
    assert "▌ quoted'" in told and "▌ quotes'" in told
    (strong,) = {cell.style for line in lines for cell in line if "underline" in cell.style}
    red = cells(image.replace(strong, "fill: #ff0000"))
    (told,) = differences(lines, red)
    assert f"'Heading': was {strong} on #14171a, is fill: #ff0000 on #14171a" in told
    assert differences(lines, red, colours=False) == []
    assert differences(lines, lines[1:]) == ["80 columns and 23 lines; the image has 80 and 24"]
    with pytest.raises(AssertionError, match=r"chat-dark.svg has changed(?s:.*)RBE_WRITE_SCREENS=1(?s:.*)quotes"):
        check_image(other, SCREENS / "chat-dark.svg", tmp_path)
    assert (tmp_path / "chat-dark.svg").read_text(encoding="utf-8") == other


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


@pytest.mark.parametrize("size", [(40, 12), (200, 60)])
def test_other_sizes_can_be_used(size: tuple[int, int]) -> None:
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
