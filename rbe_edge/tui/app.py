"""The application: what the screens share, and what they do together."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from textual import on, work
from textual.app import SystemCommand
from textual.events import Key
from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker

from rbe_edge.errors import OptionError, RbeError
from rbe_edge.machine import sensors
from rbe_edge.store.conversations import StoreError
from rbe_edge.store.export import export, suggested_path
from rbe_edge.tui import messages
from rbe_edge.tui.conversing import Conversing
from rbe_edge.tui.engine import model_key
from rbe_edge.tui.rates import RATES, Rates
from rbe_edge.tui.screens.conversations_screen import ConversationsScreen, Picked
from rbe_edge.tui.screens.dialogs import AskLine
from rbe_edge.tui.screens.help_screen import HelpScreen
from rbe_edge.tui.screens.model_screen import Choice, FromHub, ModelScreen
from rbe_edge.tui.screens.pack_screen import PackScreen
from rbe_edge.tui.screens.power_screen import PowerScreen
from rbe_edge.tui.screens.settings_screen import SettingsScreen
from rbe_edge.tui.settings import MODE_LABELS, Settings
from rbe_edge.tui.widgets.markdown_content import prepare

#: Between two readings of the machine.
READINGS_S = 2.0
_WRITTEN_S = 0.01  # for what the thread that writes to the terminal has begun
_CLOSING_S = 0.1  # that the engine has to end what it does when Ctrl-C quits
#: The exit code then.
INTERRUPTED = 130


class Client(Conversing):
    """The chat client. Make it, run() it; `failure` is then what kept it from starting, where something did. end: gives
    the terminal back and ends the process, when Ctrl-C quits; None: run() returns."""

    CSS_PATH = "app.tcss"
    TITLE = "rbe"
    end: Callable[[], object] | None = None
    _leaving: Worker[None] | None = None
    _starting = True  # nothing was shown yet

    # ---- start and end ----

    async def on_mount(self) -> None:
        await self.push_screen(self.chat_screen)
        if self.warning:
            self.tell(self.warning, severity="error", timeout=30)
        try:
            stored = await asyncio.to_thread(self.store.settings)
            self.settings = self.settings.updated(stored)
            self.rates = Rates.of(stored.get(RATES))
            self.settings = replace(self.settings, **self.start.settings)
        except RbeError as error:
            self.tell(str(error), severity="error")
        self.engine.override(self.settings.mode)
        self.chat_screen.show_sidebar(self.settings.sidebar)
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        self.theme_changed_signal.subscribe(self, self.keep_theme)
        self._read_device()
        self.set_interval(READINGS_S, self._read_device)
        self.call_after_refresh(self._started)
        self._begin()

    def _started(self) -> None:
        self._starting = False

    @work(exclusive=True, group="readings")
    async def _read_device(self) -> None:
        self.chat_screen.show_readings(await asyncio.to_thread(sensors.read))

    @work
    async def _begin(self) -> None:
        if not await self.open_model(self.start.model, starting=True):
            return
        chat = None if self.start.new or self.start.system is not None else await self.latest()
        await self.show_chat(chat or self.fresh())
        await asyncio.to_thread(prepare)
        gc.freeze()  # what is loaded stays: else each full collection walks all of it, and stops the screen for 80 ms

    @on(messages.Answered)
    async def _answered(self, answered: messages.Answered) -> None:
        self.chat_screen.list_conversations()
        loaded = self.engine.loaded
        if loaded is None or not answered.rate:
            return
        self.chat_screen.known_rate = answered.rate
        self.rates = self.rates.with_rate(model_key(loaded.path), answered.rate)
        with suppress(StoreError):  # it is told when the answer is stored
            await asyncio.to_thread(self.store.save_settings, {RATES: self.rates.as_dict()})

    @on(messages.LeaveWanted)
    async def action_quit(self) -> None:
        if self._leaving is None or self._leaving.is_finished:
            self._leaving = self._quit()

    @work
    async def _quit(self, *, at_once: bool = False) -> None:
        """at_once: what the engine cannot stop, such as opening a model, is not waited for."""
        if await self.leave(for_good=True):
            closing = asyncio.ensure_future(self.engine.close())
            await asyncio.wait([closing], timeout=_CLOSING_S if at_once else None)
            for worker in self.workers:
                if worker is not self._leaving:  # it would write on a screen that goes
                    worker.cancel()
            if at_once:
                self._end()
            else:
                self.exit()

    def stop_work(self) -> bool:
        return (isinstance(self.screen, PackScreen) and self.screen.stop()) or self.chat_screen.stop()

    def quit_at_once(self) -> None:
        if self._leaving is None or self._leaving.is_finished:
            self._leaving = self._quit(at_once=True)
        else:  # it is asked whether to lose what cannot be stored, or the disk is slow
            self._end()

    def heed(self, message: Message) -> None:
        """Looks at what the terminal sends, before the application does; on the thread that reads it. Ctrl-C ends what
        only starts at once: its widgets take a third of a second, in which the application does nothing else, and
        nothing is there yet that could be stopped or lost."""
        if self._starting and isinstance(message, Key) and message.key == "ctrl+c":
            self._end()

    def heed_signal(self) -> None:
        """The same for a Ctrl-C that comes as a signal: before Textual has the terminal. To be called in its handler,
        which may have interrupted anything: nothing is waited for but what is being written."""
        if self._starting and self.end is not None:
            time.sleep(_WRITTEN_S)
            self.end()

    def _end(self) -> None:
        """What Ctrl-C ends with."""
        if self.end is None:
            self.exit(return_code=INTERRUPTED)
            return
        if self._driver is not None:
            self._driver.close()  # when all that is to be written is written
        self.end()

    # ---- models ----

    @on(messages.ModelsWanted)
    @work
    async def action_models(self) -> None:
        loaded = self.engine.loaded
        directories = [self.start.models_directory, Path.cwd()]
        session = self.settings.session(self.start.session)
        current = loaded.path.resolve() if loaded is not None and loaded.path is not None else None
        chosen = await self.push_screen_wait(ModelScreen(directories, current, session, self.rates))
        path: Path | None = None
        if isinstance(chosen, FromHub):
            path = await self.push_screen_wait(PackScreen(self.start.models_directory, session))
            if path is None:
                return
        elif isinstance(chosen, Choice):
            path = chosen.path
            if loaded is not None and path == current:
                return  # it is open
        else:
            return
        async with self.switching:
            if await self.leave() and await self.open_model(path):
                await self.show_chat(self.fresh())

    # ---- conversations ----

    @on(messages.NewWanted)
    @work
    async def action_new(self) -> None:
        async with self.switching:
            if await self.leave():
                await self.show_chat(self.fresh())

    @on(messages.ConversationsWanted)
    @work
    async def action_conversations(self) -> None:
        picked = await self.push_screen_wait(ConversationsScreen(self.store))
        for deleted in picked.deleted:
            self.states.forget(deleted)
        if picked.deleted:
            self.chat_screen.list_conversations()
        async with self.switching:
            await self._go_where_picked(picked)

    async def _go_where_picked(self, picked: Picked) -> None:
        here = self.chat_screen.chat.id
        if picked.chosen is None or picked.chosen == here:
            if here is not None and here in picked.deleted:
                await self.chat_screen.settle()
                await self.show_chat(self.fresh())
            elif here is not None:
                await self._renamed(here)
            return
        if here in picked.deleted:
            await self.chat_screen.settle()
        elif not await self.leave():
            return
        await self.go_to(picked.chosen)

    @on(messages.ConversationWanted)
    @work
    async def _conversation_wanted(self, wanted: messages.ConversationWanted) -> None:
        async with self.switching:
            if wanted.conversation != self.chat_screen.chat.id and await self.leave():
                await self.go_to(wanted.conversation)

    async def _renamed(self, conversation: int) -> None:
        """Shows the title that the open conversation may have been given in the list."""
        try:
            stored = await asyncio.to_thread(self.store.load, conversation)
        except StoreError:
            return
        self.chat_screen.rename(stored.title)

    @on(messages.ExportWanted)
    @work
    async def action_export(self) -> None:
        chat = self.chat_screen.chat
        if not chat.messages:
            self.tell("nothing was said yet, so there is nothing to export")
            return
        suggestion = str(suggested_path(chat.title, Path.cwd()))
        name = await self.push_screen_wait(AskLine("Export to (.md or .json):", suggestion, most=4000))
        if name is None:
            return
        try:
            path = Path(name).expanduser()
            stored = await asyncio.to_thread(chat.as_stored)
            await asyncio.to_thread(export, stored, path)
        except (StoreError, RuntimeError, ValueError) as error:  # no such home; a zero byte in the name
            self.tell(str(error), severity="error", timeout=10)
        else:
            self.tell(f"exported to {path}", timeout=8)

    # ---- settings ----

    @on(messages.SettingsWanted)
    @work
    async def action_settings(self) -> None:
        chat = self.chat_screen.chat
        chosen = await self.push_screen_wait(SettingsScreen(self.settings, chat.system))
        if chosen is None:
            return
        before, self.settings = self.settings, chosen.settings
        await self.keep_settings(before)
        if self.chat_screen.busy:
            self.tell("saved; the answer that is being given goes on as it began, the next one goes by it")
        elif (before, chat.system) != (self.settings, chosen.system):
            self.tell("saved; it holds from the next answer on")
        await self._set_system(chosen.system)
        if (before.context, before.threads) != (self.settings.context, self.settings.threads):
            await self._configure(before)
        self.chat_screen.show_status()

    async def _set_system(self, system: str) -> None:
        """What the model is told first in the open conversation, from the next answer on."""
        chat = self.chat_screen.chat
        if system == chat.system:
            return
        chat.system = system
        if chat.id is not None:
            try:
                await asyncio.to_thread(self.store.set_system, chat.id, chat.system)
            except StoreError as error:
                self.tell(str(error), severity="error")

    @on(messages.SystemWanted)
    async def _system_wanted(self, wanted: messages.SystemWanted) -> None:
        try:
            replace(self.settings, system=wanted.text)  # which knows how long it may be
        except OptionError as error:
            self.tell(str(error), severity="error")
            return
        await self._set_system(wanted.text)
        self.tell("the system prompt of this conversation is set; it holds from the next answer on")

    @on(messages.SidebarWanted)
    async def _sidebar_wanted(self, wanted: messages.SidebarWanted) -> None:
        before, self.settings = self.settings, replace(self.settings, sidebar=wanted.shown)
        self.chat_screen.show_sidebar(wanted.shown)
        await self.keep_settings(before)

    @on(messages.PowerWanted)
    @work
    async def action_power(self) -> None:
        loaded = self.engine.loaded
        table = loaded.modes if loaded is not None else None
        chosen = await self.push_screen_wait(PowerScreen(self.settings.power, self.engine.power_state, table))
        if chosen is None:
            return
        await self._set_mode(chosen)

    @on(messages.ModeWanted)
    async def _mode_wanted(self, wanted: messages.ModeWanted) -> None:
        try:
            await self._set_mode(wanted.label)
        except OptionError as error:
            self.tell(f"{error}; there are auto, {', '.join(MODE_LABELS)}", severity="warning")
        else:
            self.tell(f"power: {wanted.label} from the next token on")

    async def _set_mode(self, label: str) -> None:
        """Raises OptionError where there is no such mode."""
        before, self.settings = self.settings, replace(self.settings, power=label)
        self.engine.override(self.settings.mode)  # at the next token, also of an answer that is being given
        self.chat_screen.show_status()
        await self.keep_settings(before)

    async def _configure(self, before: Settings) -> None:
        """A session of the new size, after the answer that runs."""
        chat = self.chat_screen.chat
        await self.keep_state(chat)
        try:
            loaded = await self.engine.configure(self.settings.session(self.start.session))
            chat.n_forgotten = 0
            self.chat_screen.holds(await self.states.take_up(chat))
            self.tell(f"the context holds {loaded.context} tokens now, threads: {loaded.threads}")
        except RbeError as error:
            wanted = self.settings
            self.settings = replace(wanted, context=before.context, threads=before.threads)
            await self.keep_settings(wanted)
            self.tell(f"{error}; it stays as it was", severity="error", timeout=10)

    @on(messages.KeysWanted)
    def action_keys(self) -> None:
        self.push_screen(HelpScreen())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette."""
        chat = self.chat_screen
        yield SystemCommand("New conversation", "Begin another (Ctrl+N)", self.action_new)
        yield SystemCommand("Conversations", "Search, open, rename, delete (Ctrl+O)", self.action_conversations)
        yield SystemCommand("Again", "Another answer to the last question (Ctrl+R)", chat.action_regenerate)
        yield SystemCommand("Go on", "More of the last answer, where it was cut (F8)", chat.action_go_on)
        yield SystemCommand("Answer before", "To the last question (Alt+Left)", partial(chat.action_turn, -1))
        yield SystemCommand("Next answer", "To the last question (Alt+Right)", partial(chat.action_turn, 1))
        yield SystemCommand("Edit", "Change the last question (Ctrl+G)", chat.action_edit)
        yield SystemCommand("Copy", "Copy the last answer (F6)", chat.action_copy)
        yield SystemCommand("Export", "To Markdown or JSON (F5)", self.action_export)
        yield SystemCommand("Settings", "Sampling, system prompt, context, threads (F2)", self.action_settings)
        yield SystemCommand("Model", "Choose or pack another (F3)", self.action_models)
        yield SystemCommand("Power", "By battery and heat, or always one mode (F7)", self.action_power)
        yield SystemCommand("Plots", "Tokens/s and temperature (F4)", chat.action_meters)
        yield SystemCommand("List", "The conversations beside the open one (Ctrl+B)", chat.action_sidebar)
        yield SystemCommand("Dark or light", "Change the colours (Ctrl+T)", self.action_toggle_theme)
        yield SystemCommand("Key help", "All keys (F1)", self.action_keys)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Quit"):
                yield command
