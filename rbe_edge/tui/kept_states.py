"""What the engine had read of each conversation, so that one that is opened again is not read again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rbe_edge.errors import RbeError
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.open_chat import OpenChat


class KeptStates:
    """Moves states between the engine and files. A state is a cache: what cannot be kept or read raises nothing, and is
    read again from the text."""

    def __init__(self, engine: Engine, files: StateFiles) -> None:
        self._engine = engine
        self._files = files

    def keeps(self, chat: OpenChat) -> bool:
        """Whether there is something to keep of this conversation, and a place for it."""
        return bool(chat.messages) and self._files.path(chat.id) is not None

    async def keep(self, chat: OpenChat) -> None:
        """Writes the engine's state as that of this conversation."""
        path = self._files.path(chat.id)
        if path is None:
            return
        with suppress(RbeError):  # a full disk
            await self._engine.save_state(path)
            await asyncio.to_thread(self._files.trim)

    async def take_up(self, chat: OpenChat) -> int:
        """Gives the engine the state of this conversation: tokens that need not be read again. A file that does not fit
        is deleted."""
        path = self._files.path(chat.id)
        if path is None or not path.exists():
            return 0
        try:
            return await self._engine.restore_state(path)
        except RbeError:  # of another model, other settings, or damaged
            await asyncio.to_thread(path.unlink, missing_ok=True)
            return 0

    def forget(self, conversation: int) -> None:
        """Deletes the state of a conversation, where there is one."""
        self._files.forget(conversation)
