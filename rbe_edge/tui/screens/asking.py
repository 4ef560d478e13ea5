"""What a person writes: it is said, or a command, or waits until the answer before has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual import on

from rbe_edge.errors import OptionError
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.terminal_text import one_line
from rbe_edge.tui.attachments import Written, parts, written
from rbe_edge.tui.commands import Asked, as_written, meaning
from rbe_edge.tui.engine import Engine, Loaded
from rbe_edge.tui.messages import WANTED, Answered, ModeWanted, PowerWanted, SystemWanted
from rbe_edge.tui.open_chat import OpenChat
from rbe_edge.tui.screens.answering import AnsweringScreen
from rbe_edge.tui.widgets.composer import Composer
from rbe_edge.tui.widgets.prompt_area import MOST_CHARACTERS, PromptArea
from rbe_edge.tui.widgets.transcript import Transcript
from rbe_edge.tui.widgets.welcome import Welcome

#: Commands that the app obeys.
_WANTED = {
    "help": "keys",
    "new": "new",
    "clear": "new",
    "model": "models",
    "settings": "settings",
    "export": "export",
    "bye": "bye",
}


class AskingScreen(AnsweringScreen):
    def __init__(self, chat: OpenChat, engine: Engine, options: Callable[[Loaded], GenerationOptions]) -> None:
        super().__init__(chat, engine, options)
        self._editing: int | None = None  # the position of the question that is being changed
        self._waiting: list[Written] = []

    @on(PromptArea.Submitted)
    async def _submitted(self) -> None:
        prompt = self.query_one(PromptArea)
        try:
            meant = meaning(prompt.text)
        except OptionError as error:
            self.tell(str(error), "warning")
            return
        if isinstance(meant, Asked):
            prompt.take()
            await self._obey(meant)
        elif self.engine.loaded is None:
            self.tell("no model is open; F3 chooses one", severity="warning")
        else:
            await self._say(self._meant(meant))

    async def _say(self, text: str) -> None:
        """Says it, or lets it wait. What cannot be said stays where it was written."""
        try:
            said = Written(text, text)
            if "@" in text:
                said = await asyncio.to_thread(written, text, Path.cwd(), MOST_CHARACTERS)
        except (OptionError, OSError) as error:
            self.tell(str(error), "warning", timeout=8)
            return
        self.query_one(PromptArea).take()
        if self.busy:
            self._waiting.append(said)
            self._show_waiting()
            return
        if self._editing is not None:
            await self._take_back(self._editing)
            self.leave_edit()
        await self.ask(said)

    async def _obey(self, asked: Asked) -> None:
        """A command."""
        name, argument = asked.name, asked.argument
        if name in _WANTED:
            self.post_message(WANTED[_WANTED[name]]())
        elif name == "system":
            if argument:
                self.post_message(SystemWanted(argument))
            else:
                self.tell(
                    one_line(self.chat.system, 500) or "there is no system prompt; /system TEXT sets one", timeout=10
                )
        elif name == "power":
            self.post_message(ModeWanted(argument.lower()) if argument else PowerWanted())
        elif name == "regenerate":
            await self.action_regenerate()
        elif name == "continue":
            await self.action_go_on()
        elif name == "copy":
            self.action_copy()

    # ---- messages that wait until the answer has ended ----

    @on(Answered)
    async def _answer_ended(self, event: Answered) -> None:
        await self.wait()
        if event.whole:
            await self._say_next()
        self._show_waiting()

    async def _say_next(self) -> None:
        if self._waiting and not self.busy and self.engine.loaded is not None:
            await self.ask(self._waiting.pop(0))
        self._show_waiting()

    def _show_waiting(self) -> None:
        for composer in self.query(Composer):  # none when the screen goes
            composer.show_waiting([said.said for said in self._waiting], paused=not self.busy)
            self.query_one(PromptArea).take_back(possible=bool(self._waiting))

    @on(PromptArea.NothingWritten)
    async def _nothing_written(self, event: PromptArea.NothingWritten) -> None:
        if event.key == "enter":
            await self._say_next()
        elif self._waiting:
            self.query_one(PromptArea).write(as_written(self._waiting.pop().said))
            self._show_waiting()

    def leave_draft(self) -> None:
        """Another conversation comes: no question is being changed, and what waited is back where it was written."""
        self.leave_edit()
        if self._waiting:
            prompt = self.query_one(PromptArea)
            prompt.write(
                "\n\n".join([*(written.said for written in self._waiting), *([prompt.text] if prompt.text else [])])
            )
            self._waiting = []
        self._show_waiting()

    def remember(self) -> None:
        """What the person said is what the arrow keys bring back."""
        said = [as_written(parts(message).said) for message in self.chat.messages if message.role == "user"]
        self.query_one(PromptArea).remember(said[-200:])

    def _meant(self, text: str) -> str:
        """What is said; a number alone that begins a conversation is one of the things to try."""
        for welcome in self.query(Welcome):
            if text.strip() in "123"[: len(welcome.tries)]:
                return welcome.tries[int(text) - 1]
        return text

    @on(Welcome.Tried)
    async def _tried(self, event: Welcome.Tried) -> None:
        self.query_one(PromptArea).focus()
        if not self.busy and self.engine.loaded is not None:
            await self.ask(Written(event.text, event.text))

    @on(PromptArea.Refused)
    def _refused(self, event: PromptArea.Refused) -> None:
        self.tell(
            f"the text has {event.n_characters:,} characters, a message at most {MOST_CHARACTERS:,}; "
            "nothing was taken: shorten it",
            severity="error",
        )

    # ---- keys ----

    def action_stop(self) -> None:
        """Hides completions; else stops the answer; else leaves the changing of a question; else brings the eye back to
        the prompt."""
        if self.query_one(PromptArea).leave_completions():
            return
        if self.busy:
            self.stop()
        elif self._editing is not None:
            self.leave_edit()
        else:
            self.query_one(PromptArea).focus()

    def _last_question(self) -> int | None:
        """The position of the question that can be answered anew; None where there is none now, and why is told."""
        asked = self.chat.last_question()
        if self.busy:
            self.tell("an answer is being given; Escape stops it")
        elif asked is None:
            self.tell("nothing was asked yet")
        else:
            return asked
        return None

    def _can_answer(self) -> bool:
        """Whether the last question can be answered now; else why not is told."""
        if self._last_question() is None:
            return False
        if self.engine.loaded is None:
            self.tell("no model is open; F3 chooses one", severity="warning")
            return False
        self.leave_edit()
        return True

    async def action_regenerate(self) -> None:
        if self._can_answer():
            await self.again()

    async def action_go_on(self) -> None:
        if self._can_answer():
            await self.go_on()

    async def action_turn_or_move(self, direction: int) -> None:
        """Where something is written a word to the left or the right, as elsewhere on a Mac; else action_turn()."""
        prompt = self.query_one(PromptArea)
        if not (prompt.has_focus and prompt.text):
            await self.action_turn(direction)
        elif direction < 0:
            prompt.action_cursor_word_left()
        else:
            prompt.action_cursor_word_right()

    async def action_turn(self, direction: int) -> None:
        if not self.busy:
            await self.turn(direction)

    def action_edit(self) -> None:
        asked = self._last_question()
        if asked is None:
            return
        self._editing = asked
        prompt = self.query_one(PromptArea)
        prompt.change(as_written(parts(self.chat.messages[asked]).said), "changing the last question; Escape leaves it")

    def leave_edit(self) -> None:
        """Back to what was being written before."""
        if self._editing is not None:
            self._editing = None
            self.query_one(PromptArea).leave_change()

    async def _take_back(self, position: int) -> None:
        gone = self.chat.cut(position)
        await self.query_one(Transcript).take_back(len(gone))

    def action_copy(self) -> None:
        answer = self.chat.last_answer()
        if answer is None:
            self.tell("there is no answer to copy yet")
        else:
            self.app.copy_to_clipboard(answer)
