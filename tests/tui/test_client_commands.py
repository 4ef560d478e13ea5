"""Commands, and messages that wait until the answer has ended."""

from __future__ import annotations

import pytest
from driving import client, played
from engines import Halted, Said

from rbe_edge.errors import OptionError
from rbe_edge.machine.power import Mode
from rbe_edge.runtime.session import Session
from rbe_edge.tui.commands import COMMANDS, Asked, as_written, beginning_with, meaning
from rbe_edge.tui.engine import Feed, Outcome, Question
from rbe_edge.tui.screens.asking import _WANTED
from rbe_edge.tui.screens.help_screen import HelpScreen
from rbe_edge.tui.screens.model_screen import ModelScreen
from rbe_edge.tui.screens.power_screen import PowerScreen
from rbe_edge.tui.screens.settings_screen import SettingsScreen
from rbe_edge.tui.widgets.completions import Completions
from rbe_edge.tui.widgets.prompt_area import PromptArea


def test_what_a_line_means() -> None:
    assert meaning(" /new ") == Asked("new", "") and meaning("/QUIT") == meaning("exit") == Asked("bye", "")
    assert meaning("/system You are\nbrief. ") == Asked("system", "You are\nbrief.")
    for said in ("new", "exit the room", "/usr/bin/env is a program", "/", "/ 2", "1/2"):
        assert meaning(said) == said
    assert meaning("//new") == "/new" and meaning(as_written("/new")) == "/new"
    for wrong, why in (("/nowhere", "no command /nowhere"), ("/new one", "takes nothing")):
        with pytest.raises(OptionError, match=why):
            meaning(wrong)
    assert [command.name for command in beginning_with("/c")] == ["continue", "copy", "clear"]
    assert not list(beginning_with("/copy ")) and len(list(beginning_with("/"))) == len(COMMANDS)
    obeyed = {*_WANTED, "system", "power", "regenerate", "continue", "copy"}
    assert {command.name for command in COMMANDS} == obeyed


@played
async def test_every_command() -> None:
    async with client(engine=Said("one", "two", " and more", "three")) as it:
        for name, screen in (
            ("help", HelpScreen), ("model", ModelScreen), ("settings", SettingsScreen), ("power", PowerScreen),
        ):  # fmt: skip
            await it.say(f"/{name}")
            assert isinstance(it.client.screen, screen), name
            await it.press("escape")
        await it.say("/system")
        await it.told("there is no system prompt")
        await it.say("q")
        await it.say("/system Be brief.")
        assert it.client.store.load(it.chat.id).system == "Be brief."
        await it.say("/regenerate")
        await it.say("/continue")
        assert it.said == ["q", "two and more"]
        await it.say("/copy")
        assert it.client.clipboard == "two and more"
        await it.say("/power SAVER")
        assert it.client.settings.mode == Mode.SAVER
        await it.say("/power fast")
        await it.told("there is no power mode fast; there are auto, performance")
        await it.say("/export")
        await it.sees("Export to")
        await it.press("escape")
        await it.say("/nowhere")
        await it.told("there is no command /nowhere")
        prompt = it.client.screen.query_one(PromptArea)
        assert prompt.text == "/nowhere"  # to be mended
        prompt.clear()
        await it.say("//x")
        assert it.said[2:] == ["/x", "three"]
        await it.press("up")
        assert prompt.text == "//x"
        prompt.clear()
        await it.say("/clear")
        assert it.said == []
        prompt.insert("exit")
        it.client.simulate_key("enter")
        await it.until(lambda: not it.client.is_running, "it did not leave")


@played
async def test_completion() -> None:
    async with client() as it:
        prompt, found = it.client.screen.query_one(PromptArea), it.client.screen.query_one(Completions)
        await it.type("/")
        assert found.display and found.option_count == len(COMMANDS)
        await it.press("c", "down", "tab")
        assert prompt.text == "/copy"
        await it.press("enter")
        await it.told("there is no answer to copy")
        assert prompt.text == "" and not found.display
        await it.type("/sy")
        await it.press("enter")
        assert prompt.text == "/system " and not found.display
        await it.type("x")
        await it.press("enter")
        assert it.chat.system == "x"
        await it.type("/s")
        await it.press("up", "escape")
        assert not found.display and prompt.text == "/s"
        prompt.write("/")
        await it.settled()
        prompt.insert("new")  # faster than it is shown
        prompt.action_submit()
        await it.settled()
        assert prompt.text == "" and it.said == []
        await it.type("/he")
        await it.pilot.click(Completions, offset=(3, 0))
        await it.until(lambda: isinstance(it.client.screen, HelpScreen), "a click chose nothing")


class Counting(Halted):
    """The first answer halts until it is let go or stopped; the others end at once."""

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        if not self.halt.is_set():
            return super().attempt(session, question, feed)
        return Outcome(f"to {question.text}", None, 0, None)


@played
async def test_messages_wait_for_the_answer() -> None:
    engine = Counting()
    async with client(engine=engine) as it:
        it.ask("one")
        await it.sees("battery that")
        for text in ("two", "three", "four"):
            await it.type(text)
            await it.press("enter")
        await it.sees("↳ two", "↳ three", "↳ four", "waits until the answer has ended")
        assert it.said == ["one"]
        await it.press("up")
        prompt = it.client.screen.query_one(PromptArea)
        assert prompt.text == "four"
        prompt.clear()
        engine.halt.set()
        await it.until(lambda: len(it.said) == 6, "what waited was not said")
        await it.finished()
        assert it.said[2:] == ["two", "to two", "three", "to three"] and "↳" not in it.text()


@played
async def test_after_escape_what_waits_waits_for_the_person() -> None:
    async with client(engine=Counting()) as it:
        it.ask("one")
        await it.sees("battery that")
        await it.type("two")
        await it.press("enter", "escape")
        await it.finished()
        await it.sees("Stopped.", "↳ two", "Enter says what waits")
        assert len(it.said) == 2
        await it.press("enter")
        await it.until(lambda: len(it.said) == 4, "what waited was not said")
        await it.finished()
        assert it.said[2:] == ["two", "to two"]


@played
async def test_what_waits_is_not_lost_with_the_conversation() -> None:
    async with client(engine=Counting()) as it:
        it.ask("one")
        await it.sees("battery that")
        for text in ("two", "three"):
            await it.type(text)
            await it.press("enter")
        await it.type("draft")
        await it.press("ctrl+n")
        await it.sees("new conversation")
        assert it.client.screen.query_one(PromptArea).text == "two\n\nthree\n\ndraft" and "↳" not in it.text()
