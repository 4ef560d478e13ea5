"""Which conversation is open, with which model: opening, showing and leaving them."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from rbe_edge.errors import RbeError
from rbe_edge.runtime.chat_template import WITHOUT_TEMPLATE
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.engine import Engine, Loaded, model_key
from rbe_edge.tui.frame import Frame
from rbe_edge.tui.kept_states import KeptStates
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.rates import Rates
from rbe_edge.tui.screens.chat_screen import ChatScreen
from rbe_edge.tui.screens.dialogs import Confirm
from rbe_edge.tui.start import Start


class Conversing(Frame):
    """failure: what kept it from starting, where something did. rates: how fast models answered here."""

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
        self.start = start
        self.warning = warning
        self.engine = engine
        self.states = KeptStates(engine, states or StateFiles(None))
        self.base_generation = start.generation
        self.switching = asyncio.Lock()  # of the conversation or the model: one after the other
        self.rates = Rates()
        self.failure: RbeError | None = None
        self.chat_screen = ChatScreen(OpenChat(store), engine, self._generation, stored=not warning)

    def _generation(self, loaded: Loaded) -> GenerationOptions:
        """The options of the next answer."""
        return self.settings.generation(self.base_generation, loaded.defaults, new_seed=secrets.randbits(32))

    # ---- models ----

    async def open_model(self, path: Path | None, *, starting: bool = False) -> bool:
        """Whether the model is open now. What fails is told, and the model before stays."""
        self._show_doing("opening the model")
        try:
            await self.engine.open(path, self.settings.session(self.start.session))
        except RbeError as error:
            if starting:
                self.failure = error
                self.exit(return_code=1)
            else:
                self.tell(str(error), severity="error", timeout=10)
            return False
        finally:
            self.chat_screen.doing = ""
        self.chat_screen.known_rate = self.rates.of_model(model_key(path))
        if self.engine.loaded is not None and not self.engine.loaded.template:
            self.tell(WITHOUT_TEMPLATE, timeout=10)
        return True

    # ---- conversations ----

    async def show_chat(self, chat: OpenChat) -> None:
        """A conversation on the screen, and in the engine where its state was kept."""
        await self.chat_screen.show(chat, await self.states.take_up(chat))

    async def keep_state(self, chat: OpenChat) -> None:
        if self.states.keeps(chat):
            self._show_doing("keeping the state")
            await self.states.keep(chat)
            self.chat_screen.doing = ""

    def _show_doing(self, what: str) -> None:
        self.chat_screen.doing = what
        self.chat_screen.show_status()

    async def latest(self) -> OpenChat | None:
        """The conversation that was last changed, where it was with the model that is given."""
        try:
            return await OpenChat.latest(self.store, model_key(self.start.model))
        except StoreError as error:
            self.tell(str(error), severity="error")
            return None

    def fresh(self) -> OpenChat:
        system = self.start.system if self.start.system is not None else self.settings.system
        loaded = self.engine.loaded
        return OpenChat(self.store, model=model_key(loaded.path) if loaded is not None else "", system=system)

    async def leave(self, *, for_good: bool = False) -> bool:
        """The end of a conversation on the screen: nothing more is said, and all of it is stored. False where it cannot
        be, and the person stays with it. for_good: what is only in memory is lost."""
        chat = self.chat_screen.chat
        await self.chat_screen.settle()
        told = await self.chat_screen.save()
        if told is not None:
            self.told(told)
        lost = len(chat.messages) if self.warning and for_good else chat.n_unsaved
        if lost:
            self.clear_notifications()  # they would cover the question
            question = f"{lost} messages of this conversation are not stored, and would be lost; F5 exports them."
            if not await self.push_screen_wait(Confirm(question, "Leave them (y)")):
                return False
        await self.keep_state(chat)
        return True

    async def go_to(self, conversation: int) -> None:
        """A stored conversation onto the screen, with the model that it was with where that is there."""
        try:
            chat = await OpenChat.load(self.store, conversation)
        except StoreError as error:
            self.tell(str(error), severity="error")
            return
        loaded = self.engine.loaded
        if loaded is None or model_key(loaded.path) != chat.model:
            if not await self.open_model(Path(chat.model) if chat.model else None) and loaded is not None:
                self.tell(f"it can go on with {loaded.name}, or with another model (F3)", timeout=10)
        await self.show_chat(chat)
