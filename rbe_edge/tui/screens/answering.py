"""A conversation that is asked and answered: questions go to the engine, answers to the transcript and the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.worker import Worker, WorkerError

from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.store.conversations import StoreError
from rbe_edge.tui.attachments import Written
from rbe_edge.tui.engine import Engine, Feed, Loaded, Outcome, Question, model_key
from rbe_edge.tui.messages import Answered, Told
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.widgets.status import Meters
from rbe_edge.tui.widgets.transcript import Answer, Transcript, place_of

_FLUSH_S = 0.05  # pieces are shown together, so that drawing leaves time for typing
_FORGOTTEN = "The context is full: the model no longer sees the oldest messages. F2 makes it larger."
_AGAIN = "The model says the same again. F2 sets the temperature: with more of it answers vary."
_ENOUGH = 16  # tokens, that an answer's speed says something
_AUTOSAVE_S = 5.0  # a long answer is stored while it grows


class AnsweringScreen(Screen[None]):
    """One conversation at a time. The engine works on its own thread; this screen only collects what it says.

    rate: tokens/s of the last answer, 0 for none yet; joules_per_token: its energy, None where nothing measures it.
    """

    def __init__(self, chat: OpenChat, engine: Engine, options: Callable[[Loaded], GenerationOptions]) -> None:
        """chat: the first conversation. options: those of an answer, asked when it begins."""
        super().__init__()
        self.chat = chat
        self.engine = engine
        self.feed: Feed | None = None  # of the answer that is being given
        self.rate = 0.0
        self.joules_per_token: float | None = None
        self._options = options
        self._answering: Worker[None] | None = None
        self._position = 0

    @property
    def busy(self) -> bool:
        """Whether an answer is being given."""
        return self._answering is not None and not self._answering.is_finished

    @property
    def position(self) -> int:
        """Tokens of the conversation that are in the engine's context."""
        return (self.feed.position if self.feed is not None else 0) or self._position

    def holds(self, position: int) -> None:
        """So many tokens of the conversation are in the engine's context now."""
        self._position = position
        self.show_status()

    def show_status(self) -> None:
        """What is shown of the engine and the conversation is as it is now."""
        raise NotImplementedError

    def show_said(self) -> None:
        """What is shown of the person's messages is as it is now."""
        raise NotImplementedError

    async def ask(self, written: Written) -> None:
        """Says it, and begins the answer."""
        loaded = self.engine.loaded
        if loaded is not None:
            self.chat.goes_on_with(model_key(loaded.path))  # the model that it was with may be gone
        self.chat.add("user", written.content, written.attached)
        await self.query_one(Transcript).say(self.chat.messages[-1])
        self.show_said()
        self.begin()

    async def again(self) -> None:
        """Another answer to the last question; those before stay, to be turned to."""
        n_before = self.chat.ask_again()
        await self.query_one(Transcript).take_back(min(1, n_before))
        if n_before == 1:
            self.tell("the answer before stays: Alt+Left shows it")
        self.begin()

    async def go_on(self) -> None:
        """More of the last answer, or the first of it where nothing was said."""
        begun = self.chat.go_on()
        view = await self.query_one(Transcript).go_on() if begun else None
        self.begin(begun, view)

    def begin(self, begun: str = "", view: Answer | None = None) -> None:
        """Begins the answer to the last question. begun: what was said of it before, in `view`."""
        self.feed = Feed()
        self._answering = self.run_worker(self._answer(self.feed, begun, view))

    async def _answer(self, feed: Feed, begun: str, view: Answer | None) -> None:
        """From the last question to the end of its answer, whatever comes between."""
        chat = self.chat
        asked, loaded = chat.last_question(), self.engine.loaded
        assert asked is not None and loaded is not None
        view = view or await self.query_one(Transcript).begin_answer()
        ended = asyncio.Event()
        growing = asyncio.create_task(self._grow(view, feed, chat, begun, ended))
        await self._store()
        question = Question(
            chat.messages[asked].content, chat.history(asked), chat.system, self._options(loaded), begun
        )
        try:
            outcome = await self.engine.answer(question, feed)
        finally:
            ended.set()
            self.feed = None
        await growing
        await view.append(feed.take(), now=True)
        chat.say(begun + outcome.text)
        again = not begun and bool(outcome.text.strip()) and chat.is_said_again()
        await self._show_answer(view, said=bool((begun + outcome.text).strip()))
        self.rate = outcome.statistics.tokens_per_second if outcome.statistics is not None else 0.0
        self.joules_per_token = outcome.joules_per_token
        self._position = feed.position
        if self.rate:
            self.query_one(Meters).add_rate(self.rate)
        transcript = self.query_one(Transcript)
        if outcome.n_forgotten:
            chat.forget(asked, outcome.n_forgotten)
            await transcript.note(_FORGOTTEN)
        ending = _ending(outcome, stopped=feed.stopped, goes_on=bool(begun))
        if again:
            await transcript.note(_AGAIN)
        if ending is not None:
            await transcript.note(ending)
        await self._store()
        self.show_status()
        enough = outcome.statistics is not None and outcome.statistics.generated_tokens >= _ENOUGH
        self.post_message(Answered(self.rate if enough else 0.0, outcome.error is None and not feed.stopped))

    async def _show_answer(self, view: Answer, *, said: bool) -> None:
        """The answer that counts now, which is an earlier one where nothing was said."""
        last = self.chat.messages[-1]
        if said:
            view.place(place_of(last))
        else:
            await view.remove()
            if last.role == "assistant":
                await self.query_one(Transcript).add(last)

    async def turn(self, direction: int) -> None:
        """The next or the one before of the answers to the last question, where there is one."""
        answer = self.chat.turn(direction)
        if answer is not None:
            await self.query_one(Transcript).put(answer)
            await self._store()

    async def _grow(self, view: Answer, feed: Feed, chat: OpenChat, begun: str, ended: asyncio.Event) -> None:
        """Shows what comes, some times a second; now and then stores it."""
        said = [begun]
        saved_at = time.monotonic()
        while not ended.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _FLUSH_S)
            piece = feed.take()
            said.append(piece)
            await view.append(piece)
            if time.monotonic() - saved_at > _AUTOSAVE_S:
                chat.say("".join(said))
                await self._store()
                saved_at = time.monotonic()

    async def save(self) -> Told | None:
        """Stores the conversation. Returns what the person is to be told of it, where there is something; what could
        not be stored stays here."""
        try:
            if await self.chat.save():
                return Told("another window went on with this conversation; this one is kept beside it", timeout=8)
        except StoreError as error:
            return Told(str(error), "error", timeout=15)
        return None

    async def _store(self) -> None:
        """save(), and the person is told."""
        told = await self.save()
        if told is not None:
            self.post_message(told)

    def stop(self) -> bool:
        """Stops the answer; whether there was one that was not being stopped yet."""
        if not self.busy or self.feed is None or self.feed.stopped:
            return False
        if not self.engine.stop():
            self.feed.stopped = True  # the engine has not begun with it yet
        self.show_status()
        return True

    async def wait(self) -> None:
        """Until no answer is being given."""
        if self._answering is not None:
            with suppress(WorkerError):
                await self._answering.wait()

    async def settle(self) -> None:
        """Stops the answer, and waits for its end."""
        if self.busy:
            self.stop()
            await self.wait()

    def tell(self, text: str, severity: SeverityLevel = "information", timeout: float = 4) -> None:
        """A text for the person, which goes by itself."""
        self.post_message(Told(text, severity, timeout))


def _ending(outcome: Outcome, *, stopped: bool, goes_on: bool) -> str | None:
    """What a person is told of how an answer ended; None where it came to its own end."""
    if outcome.error is not None:
        return str(outcome.error)
    if stopped:
        more = "F8 goes on, " if outcome.text.strip() or goes_on else ""
        return f"Stopped. {more}Ctrl+R asks again, Ctrl+G changes the question."
    if not outcome.text.strip():
        return "The model has nothing to add." if goes_on else "The model said nothing. Ctrl+R asks again."
    if outcome.statistics is not None and outcome.statistics.finish in ("context", "length"):
        what = "context is full" if outcome.statistics.finish == "context" else "answer reached its longest"
        return f"Cut here: the {what}. F8 goes on, F2 changes it."
    return None
