"""Ctrl-C in the client: copies what is selected, stops what runs, and quits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from driving import Driver, client, played
from engines import Halted, Late
from textual.events import Key
from textual.widgets import Input
from textual.widgets.text_area import Selection

from rbe_edge.errors import Cancelled
from rbe_edge.sources import hub
from rbe_edge.tui import frame
from rbe_edge.tui.app import Client
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.screens import pack_screen
from rbe_edge.tui.start import Start
from rbe_edge.tui.widgets.prompt_area import PromptArea


async def quits(it: Driver) -> None:
    """The last press: keys are not waited for by a client that goes."""
    it.client.simulate_key("ctrl+c")
    await it.until(lambda: not it.client.is_running, "it did not leave")
    assert it.client.return_code == 130


@played
async def test_three_presses_from_a_running_answer() -> None:
    async with client(engine=Halted()) as it:
        it.ask("hello")
        await it.sees("battery that", "answering")
        await it.press("ctrl+c")
        await it.finished()
        await it.sees("Stopped.")
        assert it.said[1].startswith("Once upon a time")
        await it.press("ctrl+c")
        await it.told("Ctrl+C again quits")
        await quits(it)


@played
async def test_a_press_before_the_engine_began_stops_too() -> None:
    engine = Late()
    async with client(engine=engine) as it:
        it.ask("hello")
        screen = it.client.chat_screen
        await it.until(lambda: screen.busy and screen.feed is not None, "no answer")
        assert screen.stop() and not screen.stop()
        engine.may_begin.set()
        await it.finished()
        await it.sees("Stopped.")


@played
async def test_a_press_before_anything_is_shown_ends_at_once() -> None:
    async with client() as it:
        ended: list[str] = []
        other = Client(Start(model=None, models_directory=Path("/nonexistent"), settings={}), it.client.store, Engine())
        other.end = lambda: ended.append("other")
        other.heed(Key("ctrl+d", None))
        assert ended == []
        other.heed(Key("ctrl+c", None))
        other.heed_signal()
        assert ended == ["other", "other"]
        it.client.end = lambda: ended.append("shown")
        it.client.heed(Key("ctrl+c", None))  # what is on the screen asks first
        it.client.heed_signal()
        assert ended == ["other", "other"] and it.client.is_running


@played
async def test_a_second_press_too_late_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "AGAIN_S", 0.0)
    async with client() as it:
        for _ in range(3):
            await it.press("ctrl+c")
        assert it.client.is_running
        monkeypatch.setattr(frame, "AGAIN_S", 60.0)
        for key in ("f1", "f2", "f3", "f7", "ctrl+o", "ctrl+p"):  # over every screen
            await it.press(key, "ctrl+c")
            assert it.client.is_running
            it.client._quits_until = 0.0
            await it.press("escape")
        await it.press("f2", "ctrl+c")
        await quits(it)


@played
async def test_what_is_selected_is_copied_and_then_it_quits() -> None:
    async with client() as it:
        prompt = it.client.chat_screen.query_one(PromptArea)
        await it.type("one two")
        prompt.selection = Selection((0, 0), (0, 3))
        await it.press("ctrl+c")
        assert it.client.clipboard == "one" and prompt.selected_text == ""
        await it.press("f2")
        field = it.client.screen.query_one("#top_k", Input)
        field.focus()
        field.select_all()
        await it.press("ctrl+c")
        assert it.client.clipboard == "40"
        await it.press("escape")
        await it.say("hello")
        it.client.screen.text_select_all()
        await it.press("ctrl+c")
        assert it.said[-1][:20] in it.client.clipboard
        await it.press("ctrl+c")
        await quits(it)


@played
async def test_packing_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(name: str, revision: str | None, stopped: object) -> None:
        while not stopped():  # type: ignore[operator]
            threading.Event().wait(0.005)
        raise Cancelled("stopped")

    monkeypatch.setattr(hub, "inquire", lambda name: hub.Offer(name, None, 1000, 10))
    monkeypatch.setattr(hub, "cached_bytes", lambda name: 0)
    monkeypatch.setattr(hub, "download", download)
    monkeypatch.setattr(pack_screen.PackScreen, "_needs", lambda *_: ([], ""))
    async with client(directory=tmp_path) as it:
        await it.press("f3", "ctrl+n")
        it.client.screen.query_one("#repository", Input).value = "org/name"
        await it.press("enter")
        await it.sees("There is room")
        await it.pilot.click("#pack")
        await it.sees("downloading")
        await it.press("ctrl+c")
        await it.sees("stopped")
        await it.press("ctrl+c")
        await quits(it)


@played
async def test_a_model_that_is_being_opened_is_not_waited_for(tiny_model: Path) -> None:
    opens = threading.Event()
    opened = 0

    def observe(work: str) -> None:
        nonlocal opened
        opened += work == "open"
        if opened == 2:
            opens.wait(30)

    try:
        async with client(engine=Engine(observe=observe), directory=tiny_model.parent) as it:
            await it.press("f3")
            await it.sees(tiny_model.name)
            await it.press("down", "enter")
            await it.until(lambda: opened == 2, "no other model is opened")
            await it.press("ctrl+c")
            await it.told("Ctrl+C again quits")
            await quits(it)
            opens.set()
    finally:
        opens.set()
