"""Where a person writes, with what waits to be said and what may be meant above it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static, TextArea

from rbe_edge.terminal_text import one_line
from rbe_edge.tui.attachments import chips, offers
from rbe_edge.tui.commands import beginning_with
from rbe_edge.tui.widgets.completions import Completion, Completions
from rbe_edge.tui.widgets.prompt_area import PromptArea

_MOST_SHOWN = 3  # messages that wait


class Composer(Vertical):
    """A PromptArea, whose messages pass through, and what stands above it."""

    def __init__(self) -> None:
        super().__init__(id="composer")
        self._completions = Completions()

    def compose(self) -> ComposeResult:
        yield Static("", id="waiting", markup=False)
        yield self._completions
        yield PromptArea(self._completions, id="prompt")

    def show_waiting(self, texts: Sequence[str], *, paused: bool) -> None:
        """The messages that are said when the answer has ended. paused: they wait for the person."""
        waiting = self.query_one("#waiting", Static)
        waiting.display = bool(texts)
        lines = [Content(f"↳ {one_line(text, 90)}") for text in texts[:_MOST_SHOWN]]
        if len(texts) > _MOST_SHOWN:
            lines.append(Content(f"  and {len(texts) - _MOST_SHOWN} more"))
        told = "Enter says what waits" if paused else "waits until the answer has ended"
        waiting.update(Content("\n").join([*lines, Content(f"  {told}; Up takes the last back")]))

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        text = self.query_one(PromptArea).before_cursor
        self._completions.show(completions(text), text)
        self._find_files(text)

    @work(exclusive=True)
    async def _find_files(self, before: str) -> None:
        """What the text mentions of the disk: paths that may be meant, and the files that will be read."""
        prompt = self.query_one(PromptArea)
        mentions = "@" in prompt.text
        chosen = await asyncio.to_thread(chips, prompt.text, Path.cwd()) if mentions else []
        prompt.border_subtitle = Content(" · ".join(chosen))
        found = await asyncio.to_thread(offers, before, Path.cwd()) if mentions else []
        if found and before == prompt.before_cursor:
            self._completions.show([Completion(it.text, it.replaced, it.what) for it in found], before)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        prompt = self.query_one(PromptArea)
        # As the prompt's own: Textual lets no message rise above the widget in whose turn it was made.
        prompt.call_later(prompt.complete, self._completions.at(event.option_index), send=True)


def completions(text: str) -> list[Completion]:
    """Of the text before the cursor."""
    if re.search(r"\s", text):
        return []
    return [
        Completion(f"/{command.name}" + " " * bool(command.takes), len(text), command.what, not command.takes)
        for command in beginning_with(text)
    ]
