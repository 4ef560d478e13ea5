"""Power modes in the client, on machines that are trees of files."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from driving import client, played
from fake_machine import AT_ONCE, FakeMachine

from rbe_edge.errors import OptionError
from rbe_edge.format import modes
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.power import Mode, Power
from rbe_edge.machine.sensors import Readings
from rbe_edge.runtime.governor import Goals, PowerChoice
from rbe_edge.runtime.model import demo_path
from rbe_edge.runtime.options import GenerationOptions, SessionOptions
from rbe_edge.store.conversations import ConversationStore
from rbe_edge.tui.engine import Engine, Feed, Question
from rbe_edge.tui.power import PowerState, losses
from rbe_edge.tui.settings import Settings
from rbe_edge.tui.widgets.status import status_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")

_CUT = (modes.SKIP, 0, 0, 0, 0)
TABLE = modes.ModeTable(
    5,
    (
        modes.Mode(bytes_per_token=1000, perplexity=10.0, n_tokens=512, top1=1.0),
        modes.Mode(bytes_per_token=1000, perplexity=10.0, n_tokens=512, top1=1.0, reason="nothing reads less"),
        modes.Mode(_CUT, bytes_per_token=780, perplexity=10.8, n_tokens=512, kl=0.0612, top1=0.9),
        modes.Mode(_CUT, bytes_per_token=780, perplexity=10.8, n_tokens=512, kl=0.0612, top1=0.9),
    ),
    "a text",
)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "machine")


def story(**options: object) -> Question:
    return Question("tell me a story", (), "", GenerationOptions(**options))  # type: ignore[arg-type]


@played
async def test_mode_and_energy_on_the_screen(machine: FakeMachine) -> None:
    """On battery the status line says so before the first answer; a switch is told; joules are those of the power."""
    machine.battery(40)
    with machine.takes(20), Power(machine.root) as power:
        choice = PowerChoice(AT_ONCE, Goals(tokens_per_s=20))
        engine = Engine(power=power, choice=choice)
        async with client(engine=engine, settings={"max_tokens": 20}) as it:
            await it.sees("balanced: 40 %")
            machine.battery(15)
            began = time.monotonic()
            it.ask("tell me a story")
            await it.sees("saver: 15 %")
            await it.told("power mode saver: 15 %")
            await it.finished()
            joules = it.client.chat_screen.joules_per_token
            assert joules is not None and 0.8 * 20 / 20 < joules  # 20 W at 20 tokens/s, or slower
            assert joules < 20 * (time.monotonic() - began)  # of all, and there are several
            await it.sees("J/t")
            machine.battery(80)
            it.ask("hello")
            await it.finished()
            await it.until(lambda: "saver" not in it.lines()[-2])
            assert engine.power_state == PowerState(Mode.PERFORMANCE, "80 %")


@played
async def test_the_mode_is_chosen_and_kept(machine: FakeMachine, tmp_path: Path) -> None:
    path = tmp_path / "model.rbe"
    shutil.copy(demo_path(), path)
    replace_parts(path, [TABLE.part()])
    machine.battery(80)
    store = ConversationStore(None)
    with Power(machine.root) as power:
        engine = Engine(power=power)
        async with client(engine=engine, model=path, store=store) as it:
            await it.press("f7")
            await it.sees("by battery and heat, now performance: 80 %", "as measured on a text")
            await it.sees("78 % of the bytes, perplexity x 1.08, KL 0.061, top-1 90 %")
            await it.sees("nothing less keeps its bound")
            await it.press("escape")
            assert it.client.settings.power == "auto" and store.settings().get("power", "auto") == "auto"
            await it.press("f7", "down", "down", "down", "enter")
            await it.sees("saver: override")
            assert store.settings()["power"] == "saver"
            await it.say("hello")
            assert engine.power_state == PowerState(Mode.SAVER, "override, 80 %")
            await it.press("f2")  # a session of another size is governed as well
            it.client.screen.query_one("#context").value = "512"  # type: ignore[attr-defined]
            await it.press("ctrl+s")
            await it.told("the context holds 512 tokens now")
            before = engine._governor.info.tokens  # type: ignore[union-attr]
            await it.say("hello")
            assert engine._governor.info.tokens > before  # type: ignore[union-attr]
            await it.press("f7", "up", "up", "up", "enter")
            await it.until(lambda: "saver" not in it.lines()[-2])
            assert store.settings()["power"] == "auto"
            await it.press("f7", "down", "down", "down", "down", "enter")
        async with client(engine=Engine(power=power), store=store) as it:
            await it.sees("emergency: override")
            await it.press("f7")
            await it.sees("The file has no table of modes", "one thread")
        async with client(engine=Engine(power=power), store=store, settings={"power": "balanced"}) as it:
            await it.sees("balanced: override")  # of the command line


@played
async def test_escape_ends_a_wait(machine: FakeMachine) -> None:
    """Between two tokens of an answer that is held back."""
    with Power(machine.root) as power:
        engine = Engine(power=power, choice=PowerChoice(goals=Goals(tokens_per_s=0.5)))
        async with client(engine=engine) as it:
            it.ask("tell me a story")
            await it.sees("answering")
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await it.press("escape")
            await it.finished()
            assert time.monotonic() - began < 20  # 2 seconds for each of hundreds of tokens
            await it.sees("Stopped.")


@played
async def test_the_engine_and_its_governors(machine: FakeMachine) -> None:
    """Each model has one, with the mode that was chosen; what cannot be held leaves the model before."""
    machine.battery(80)
    engine = Engine()
    engine.override(Mode.EMERGENCY)
    assert engine.power_state is None
    await engine.open(None, SessionOptions(threads=2))
    first = engine._governor
    outcome = await engine.answer(story(max_tokens=4), Feed())
    assert outcome.error is None and outcome.joules_per_token is None
    assert first is not None and first.info.mode == Mode.EMERGENCY and first.info.threads == 1
    await engine.open(None, SessionOptions())
    assert engine._governor is not first and engine.power_state == PowerState(Mode.EMERGENCY, "override")
    engine.override(None)
    assert engine.power_state is not None and engine.power_state.mode == Mode.PERFORMANCE
    await engine.close()
    assert engine.power_state is None
    with Power(machine.root) as power:
        refused = Engine(power=power, choice=PowerChoice(goals=Goals(watts=5)))
        with pytest.raises(OptionError, match="no sensor measures power here"):
            await refused.open(None, SessionOptions())
        assert refused.loaded is None and refused.power_state is None
        await refused.close()


def test_words() -> None:
    readings = Readings(50 << 20, 1 << 30, 18.0, False, 71.0)

    def line(power: PowerState | None, width: int = 200, joules: float | None = None) -> str:
        return status_text(
            rate=12.3, position=1, context=9, readings=readings, width=width, power=power, joules_per_token=joules
        )

    assert line(None) == line(PowerState(Mode.PERFORMANCE, "18 %")) and "battery 18%" in line(None)
    saving = line(PowerState(Mode.SAVER, "18 %, 71 C"), joules=0.3126)
    assert saving.startswith("saver: 18 %, 71 C · 12.3 tokens/s · 0.313 J/token")
    assert "battery" not in saving and "°C" not in saving  # it says both
    assert "battery 18%" in line(PowerState(Mode.SAVER, "override"))
    assert len(line(PowerState(Mode.SAVER, "18 %, 71 C"), 40, 0.3126)) <= 60
    assert losses(Mode.PERFORMANCE, TABLE) == "reads everything"
    assert losses(Mode.BALANCED, TABLE) == "reads everything: nothing less keeps its bound"
    bare = replace(TABLE, modes=(modes.Mode(), *[modes.Mode(_CUT)] * 3))
    assert losses(Mode.SAVER, bare) == "reads less; what it costs was not measured"


def test_settings() -> None:
    assert Settings().mode is None and Settings(power="saver").mode == Mode.SAVER
    assert Settings().updated({"power": "turbo"}) == Settings().updated({"power": 3}) == Settings()
    with pytest.raises(OptionError, match="turbo"):
        Settings(power="turbo")
