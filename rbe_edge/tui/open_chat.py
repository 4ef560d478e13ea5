"""The conversation on the screen, and how it reaches the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from rbe_edge.store.conversations import (
    ConversationChanged,
    ConversationStore,
    StoredConversation,
    StoredMessage,
    StoreError,
)
from rbe_edge.store.stored_message import Attached
from rbe_edge.terminal_text import one_line
from rbe_edge.tui.attachments import parts
from rbe_edge.tui.turns import answered, n_holding_answered

_TITLE_WIDTH = 60


@dataclass
class OpenChat:
    """Belongs to the event loop; save() writes on another thread. n_forgotten: messages at the beginning that no longer
    fit into the model's context. id None: nothing was said yet, and nothing is stored."""

    store: ConversationStore
    model: str = ""
    system: str = ""
    title: str = ""
    id: int | None = None
    messages: list[StoredMessage] = field(default_factory=list)
    n_forgotten: int = 0
    _n_saved: int = 0  # messages that are stored as they are here
    _updated: float | None = None  # of what is stored
    _moved: bool = False  # to another model, which is not stored yet
    _others: list[str] = field(default_factory=list)  # of the answer that is being given, and its place among them
    _at: int = 0
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def load(cls, store: ConversationStore, conversation: int) -> OpenChat:
        """The stored conversation with this id. Raises StoreError."""
        stored = await asyncio.to_thread(store.load, conversation)
        chat = cls(store, stored.model, stored.system, stored.title, stored.id, list(stored.messages))
        chat._n_saved, chat._updated = len(chat.messages), stored.updated
        return chat

    @classmethod
    async def latest(cls, store: ConversationStore, model: str) -> OpenChat | None:
        """The conversation that was last changed, where it was with this model. Raises StoreError."""
        found = await asyncio.to_thread(store.list, limit=1)
        return await cls.load(store, found[0].id) if found and found[0].model == model else None

    @property
    def n_unsaved(self) -> int:
        """Messages that are not stored."""
        return len(self.messages) - self._n_saved

    def history(self, asked: int) -> list[StoredMessage]:
        """What the model is to see before the question at this position: as templates want it, questions that were
        answered and their answers in turn, without what is forgotten."""
        return answered(self.messages[self.n_forgotten : asked])

    def forget(self, asked: int, n_messages: int) -> None:
        """The first so many messages of history(asked) no longer fit into the context."""
        self.n_forgotten += n_holding_answered(self.messages[self.n_forgotten : asked], n_messages)

    def goes_on_with(self, model: str) -> None:
        """From the next save on the conversation is one with this model."""
        self._moved |= model != self.model
        self.model = model

    def add(self, role: str, content: str, attached: tuple[Attached, ...] = ()) -> None:
        """attached: the files that the content ends with."""
        self._others, self._at = [], 0
        self.messages.append(StoredMessage(role, content, attached=attached))
        if not self.title:
            self.title = one_line(parts(self.messages[-1]).said, _TITLE_WIDTH) or "untitled"

    def say(self, answer: str) -> None:
        """Puts the answer, or more of it, after the last question. Nothing said: the answer before it counts again."""
        if self._last_answer() is not None:
            self.cut(len(self.messages) - 1)
        answers, at = list(self._others), self._at
        if answer.strip():
            answers.insert(at, answer)
        if answers:
            self._put(answers, min(at, len(answers) - 1))

    def _put(self, answers: Sequence[str], chosen: int) -> None:
        several = tuple(answers) if len(answers) > 1 else ()
        self.messages.append(StoredMessage("assistant", answers[chosen], several, chosen))

    def _last_answer(self) -> StoredMessage | None:
        """To the last question."""
        return self.messages[-1] if self.messages and self.messages[-1].role == "assistant" else None

    def ask_again(self) -> int:
        """What is said from now on is another answer to the last question; how many there are, of which one counts
        until something is said."""
        last = self._last_answer()
        if last is None:
            self._others, self._at = [], 0
            return 0
        self._others = list(last.answers or (last.content,))
        self._at = len(self._others)
        return self._at

    def go_on(self) -> str:
        """What is said from now on takes the place of the last answer, with which it begins; that is given, without
        space at its end, "" where the question has no answer."""
        last = self._last_answer()
        if last is None:
            self._others, self._at = [], 0
            return ""
        self._others = [answer for number, answer in enumerate(last.answers) if number != last.chosen]
        self._at = last.chosen
        return last.content.rstrip()

    def is_said_again(self) -> bool:
        """Whether the last answer is one that was given before, which then counts; it is kept once."""
        last = self._last_answer()
        if last is None or not last.answers or last.answers.index(last.content) == last.chosen:
            return False
        answers = [answer for number, answer in enumerate(last.answers) if number != last.chosen]
        self.cut(len(self.messages) - 1)
        self._put(answers, answers.index(last.content))
        return True

    def turn(self, direction: int) -> StoredMessage | None:
        """The next or the one before of the answers to the last question counts from now on, and is given; None where
        there is none in that direction."""
        last = self._last_answer()
        if last is None or not 0 <= last.chosen + direction < len(last.answers):
            return None
        self.cut(len(self.messages) - 1)
        self._put(last.answers, last.chosen + direction)
        return self.messages[-1]

    def cut(self, position: int) -> list[StoredMessage]:
        """Takes away the messages from `position` on, and returns them."""
        gone = self.messages[position:]
        del self.messages[position:]
        self._n_saved = min(self._n_saved, position)
        self.n_forgotten = min(self.n_forgotten, position)
        return gone

    def last_question(self) -> int | None:
        """The position of the last thing that the person said."""
        for position in range(len(self.messages) - 1, -1, -1):
            if self.messages[position].role == "user":
                return position
        return None

    def last_answer(self) -> str | None:
        return next((message.content for message in reversed(self.messages) if message.role == "assistant"), None)

    async def save(self) -> bool:
        """Stores what is not stored yet. Raises StoreError; then it is tried again by the next save. True where another
        program had gone on with the conversation: this one is a conversation of its own from now on."""
        async with self._saving:
            try:
                await self._store()
            except ConversationChanged:
                self.id, self._n_saved, self._updated = None, 0, None
                await self._store()
                return True
        return False

    async def _store(self) -> None:
        if self.id is None:
            if not self.messages:
                return
            self.id = await asyncio.to_thread(self.store.new, self.title, model=self.model, system=self.system)
        if self._moved:
            await asyncio.to_thread(self.store.set_model, self.id, self.model)
            self._moved = False
        position, changed = self._n_saved, self.messages[self._n_saved :]
        self._n_saved = len(self.messages)
        try:
            self._updated = await asyncio.to_thread(self.store.write, self.id, position, changed, self._updated)
        except StoreError:
            self._n_saved = min(self._n_saved, position)
            raise

    def as_stored(self) -> StoredConversation:
        """What is on the screen, stored or not, for an export."""
        import time

        created = updated = time.time()
        if self.id is not None:
            try:
                stored = self.store.load(self.id)
                created, updated = stored.created, stored.updated
            except StoreError:
                pass  # an export is the way out of a damaged store
        return StoredConversation(
            self.id or 0, self.title, self.model, self.system, created, updated, tuple(self.messages)
        )
