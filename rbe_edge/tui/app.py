"""The application: what the screens share, and what they do together."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual import on, work
from textual.app import SystemCommand
from textual.screen import Screen
from textual.worker import Worker

from rbe_edge.errors import RbeError
from rbe_edge.machine import sensors
from rbe_edge.runtime.chat_template import WITHOUT_TEMPLATE
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.store.export import export, suggested_path
from rbe_edge.store.states import StateFiles
from rbe_edge.tui import messages
from rbe_edge.tui.engine import Engine, Loaded, model_key
from rbe_edge.tui.frame import Frame
from rbe_edge.tui.kept_states import KeptStates
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.rates import RATES, Rates
from rbe_edge.tui.screens.chat_screen import ChatScreen
from rbe_edge.tui.screens.conversations_screen import ConversationsScreen
from rbe_edge.tui.screens.dialogs import AskLine, Confirm
from rbe_edge.tui.screens.help_screen import HelpScreen
from rbe_edge.tui.screens.model_screen import Choice, FromHub, ModelScreen
from rbe_edge.tui.screens.pack_screen import PackScreen
from rbe_edge.tui.screens.power_screen import PowerScreen
from rbe_edge.tui.screens.settings_screen import SettingsScreen
from rbe_edge.tui.settings import Settings
from rbe_edge.tui.start import Start
from rbe_edge.tui.widgets.markdown_content import prepare

#: Between two readings of the machine.
READINGS_S = 2.0
_CLOSING_S = 0.1  # that the engine has to end what it does when Ctrl-C quits
_INTERRUPTED = 130  # the exit code then; `rbe` ends at once with it


class Client(Frame):
    """The chat client. Make it, run() it; `failure` is then what kept it from starting, where something did."""

    CSS_PATH = "app.tcss"
    TITLE = "rbe"

    def __init__(
        self,
        start: Start,
        store: ConversationStore,
        engine: Engine,
        *,
        states: StateFiles | None = None,
        warning: str = "",
    ) -> None:
        """states: where the engine's state is kept, None for nowhere. warning: why nothing is saved, for the start."""
        super().__init__(store)
        self._start = start
        self._warning = warning
        self.engine = engine
        self._states = KeptStates(engine, states or StateFiles(None))
        self.base_generation = start.generation
        self._rates = Rates()
        self._leaving: Worker[None] | None = None
        self.failure: RbeError | None = None
        self.chat_screen = ChatScreen(OpenChat(store), engine, self._generation, stored=not warning)

    def _generation(self, loaded: Loaded) -> GenerationOptions:
        """The options of the next answer."""
        return self.settings.generation(self.base_generation, loaded.defaults, new_seed=secrets.randbits(32))

    # ---- start and end ----

    async def on_mount(self) -> None:
        await self.push_screen(self.chat_screen)
        if self._warning:
            self.tell(self._warning, severity="error", timeout=30)
        try:
            stored = await asyncio.to_thread(self.store.settings)
            self.settings = self.settings.updated(stored)
            self._rates = Rates.of(stored.get(RATES))
            self.settings = replace(self.settings, **self._start.settings)
        except RbeError as error:
            self.tell(str(error), severity="error")
        self.engine.override(self.settings.mode)
        self.chat_screen.show_sidebar(self.settings.sidebar)
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        self.theme_changed_signal.subscribe(self, self.keep_theme)
        self._read_device()
        self.set_interval(READINGS_S, self._read_device)
        self._begin()

    @work(exclusive=True, group="readings")
    async def _read_device(self) -> None:
        self.chat_screen.show_readings(await asyncio.to_thread(sensors.read))

    @work
    async def _begin(self) -> None:
        if not await self._open(self._start.model, starting=True):
            return
        chat = None if self._start.new or self._start.system is not None else await self._latest()
        await self._show(chat or self._fresh())
        await asyncio.to_thread(prepare)
        gc.freeze()  # what is loaded stays: else each full collection walks all of it, and stops the screen for 80 ms

    @on(messages.Answered)
    async def _answered(self, answered: messages.Answered) -> None:
        self.chat_screen.list_conversations()
        loaded = self.engine.loaded
        if loaded is None or not answered.rate:
            return
        self.chat_screen.known_rate = answered.rate
        self._rates = self._rates.with_rate(model_key(loaded.path), answered.rate)
        with suppress(StoreError):  # it is told when the answer is stored
            await asyncio.to_thread(self.store.save_settings, {RATES: self._rates.as_dict()})

    async def _show(self, chat: OpenChat) -> None:
        """A conversation on the screen, and in the engine where its state was kept."""
        await self.chat_screen.show(chat, await self._states.take_up(chat))

    async def _keep_state(self, chat: OpenChat) -> None:
        if self._states.keeps(chat):
            self._show_doing("keeping the state")
            await self._states.keep(chat)
            self.chat_screen.doing = ""

    def _show_doing(self, what: str) -> None:
        self.chat_screen.doing = what
        self.chat_screen.show_status()

    async def _latest(self) -> OpenChat | None:
        """The conversation that was last changed, where it was with the model that is given."""
        try:
            return await OpenChat.latest(self.store, model_key(self._start.model))
        except StoreError as error:
            self.tell(str(error), severity="error")
            return None

    def _fresh(self) -> OpenChat:
        system = self._start.system if self._start.system is not None else self.settings.system
        loaded = self.engine.loaded
        return OpenChat(self.store, model=model_key(loaded.path) if loaded is not None else "", system=system)

    async def action_quit(self) -> None:
        if self._leaving is None or self._leaving.is_finished:
            self._leaving = self._quit()

    @work
    async def _quit(self, *, at_once: bool = False) -> None:
        """at_once: what the engine cannot stop, such as opening a model, is not waited for."""
        if await self._leave(for_good=True):
            closing = asyncio.ensure_future(self.engine.close())
            await asyncio.wait([closing], timeout=_CLOSING_S if at_once else None)
            for worker in self.workers:
                if worker is not self._leaving:  # it would write on a screen that goes
                    worker.cancel()
            self.exit(return_code=_INTERRUPTED if at_once else 0)

    def stop_work(self) -> bool:
        return (isinstance(self.screen, PackScreen) and self.screen.stop()) or self.chat_screen.stop()

    def quit_at_once(self) -> None:
        if self._leaving is None or self._leaving.is_finished:
            self._leaving = self._quit(at_once=True)
        else:  # it is asked whether to lose what cannot be stored, or the disk is slow
            self.exit(return_code=_INTERRUPTED)

    # ---- models ----

    async def _open(self, path: Path | None, *, starting: bool = False) -> bool:
        """Whether the model is open now. What fails is told, and the model before stays."""
        self._show_doing("opening the model")
        try:
            await self.engine.open(path, self.settings.session(self._start.session))
        except RbeError as error:
            if starting:
                self.failure = error
                self.exit(return_code=1)
            else:
                self.tell(str(error), severity="error", timeout=10)
            return False
        finally:
            self.chat_screen.doing = ""
        self.chat_screen.known_rate = self._rates.of_model(model_key(path))
        if self.engine.loaded is not None and not self.engine.loaded.template:
            self.tell(WITHOUT_TEMPLATE, timeout=10)
        return True

    @on(messages.ModelsWanted)
    @work
    async def action_models(self) -> None:
        loaded = self.engine.loaded
        directories = [self._start.models_directory, Path.cwd()]
        chosen = await self.push_screen_wait(ModelScreen(directories, loaded.path if loaded is not None else None))
        path: Path | None = None
        if isinstance(chosen, FromHub):
            session = self.settings.session(self._start.session)
            path = await self.push_screen_wait(PackScreen(self._start.models_directory, session))
            if path is None:
                return
        elif isinstance(chosen, Choice):
            path = chosen.path
        else:
            return
        if await self._leave() and await self._open(path):
            await self._show(self._fresh())

    # ---- conversations ----

    async def _leave(self, *, for_good: bool = False) -> bool:
        """The end of a conversation on the screen: nothing more is said, and all of it is stored. False where it cannot
        be, and the person stays with it. for_good: what is only in memory is lost."""
        chat = self.chat_screen.chat
        await self.chat_screen.settle()
        told = await self.chat_screen.save()
        if told is not None:
            self.told(told)
        lost = len(chat.messages) if self._warning and for_good else chat.n_unsaved
        if lost:
            self.clear_notifications()  # they would cover the question
            question = f"{lost} messages of this conversation are not stored, and would be lost; F5 exports them."
            if not await self.push_screen_wait(Confirm(question, "Leave them (y)")):
                return False
        await self._keep_state(chat)
        return True

    @on(messages.NewWanted)
    @work
    async def action_new(self) -> None:
        if await self._leave():
            await self._show(self._fresh())

    @on(messages.ConversationsWanted)
    @work
    async def action_conversations(self) -> None:
        picked = await self.push_screen_wait(ConversationsScreen(self.store))
        for deleted in picked.deleted:
            self._states.forget(deleted)
        here = self.chat_screen.chat.id
        if picked.deleted:
            self.chat_screen.list_conversations()
        if picked.chosen is None or picked.chosen == here:
            if here is not None and here in picked.deleted:
                await self.chat_screen.settle()
                await self._show(self._fresh())
            elif here is not None:
                await self._renamed(here)
            return
        if here in picked.deleted:
            await self.chat_screen.settle()
        elif not await self._leave():
            return
        await self._go_to(picked.chosen)

    @on(messages.ConversationWanted)
    @work(exclusive=True, group="conversation")
    async def _conversation_wanted(self, wanted: messages.ConversationWanted) -> None:
        if await self._leave():
            await self._go_to(wanted.conversation)

    async def _go_to(self, conversation: int) -> None:
        """A stored conversation onto the screen, with the model that it was with where that is there."""
        try:
            chat = await OpenChat.load(self.store, conversation)
        except StoreError as error:
            self.tell(str(error), severity="error")
            return
        loaded = self.engine.loaded
        if loaded is None or model_key(loaded.path) != chat.model:
            if not await self._open(Path(chat.model) if chat.model else None) and loaded is not None:
                self.tell(f"it can go on with {loaded.name}, or with another model (F3)", timeout=10)
        await self._show(chat)

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
        if chosen.system != chat.system:
            chat.system = chosen.system
            if chat.id is not None:
                try:
                    await asyncio.to_thread(self.store.set_system, chat.id, chat.system)
                except StoreError as error:
                    self.tell(str(error), severity="error")
        if (before.context, before.threads) != (self.settings.context, self.settings.threads):
            await self._configure(before)
        self.chat_screen.show_status()

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
        before, self.settings = self.settings, replace(self.settings, power=chosen)
        self.engine.override(self.settings.mode)  # at the next token, also of an answer that is being given
        self.chat_screen.show_status()
        await self.keep_settings(before)

    async def _configure(self, before: Settings) -> None:
        """A session of the new size, after the answer that runs."""
        chat = self.chat_screen.chat
        await self._keep_state(chat)
        try:
            loaded = await self.engine.configure(self.settings.session(self._start.session))
            chat.n_forgotten = 0
            self.chat_screen.holds(await self._states.take_up(chat))
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
