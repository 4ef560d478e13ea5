"""Markdown of a model, which is never trusted: no links that open, no HTML, no control characters, bounded work."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from textual.content import Content
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownFence

from rbe_edge.runtime.terminal_text import printable

# Each block and each cell of a table is a widget. More of them than a person reads would stop the screen for seconds.
_MOST_TOKENS = 3000
# Highlighting runs over a whole block of code with each new piece of it. Without a language, every known one would be
# tried.
_MOST_HIGHLIGHTED = 6000


def _make_safe(state: StateCore) -> None:
    """After parsing, because entities such as &#8238; become characters only there."""
    if len(state.tokens) > _MOST_TOKENS:
        text = Token("fence", "", 0, content=state.src, map=[0, state.src.count("\n") + 1], block=True)
        state.tokens = [text]
    for token in state.tokens:
        for part in (token, *(token.children or ())):
            part.content = printable(part.content)
            part.info = printable(part.info)


def parser() -> MarkdownIt:
    """Links, images and HTML stay the text that they are: a person sees where a link goes, and nothing is hidden."""
    made = MarkdownIt("gfm-like", {"html": False, "linkify": False})
    made.disable(["link", "image", "autolink", "reference", "html_inline", "html_block", "linkify"], ignoreInvalid=True)
    made.core.ruler.push("safe", _make_safe)
    return made


class SafeFence(MarkdownFence):
    """A block of code, in colours while it is short."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        if not language or len(code) > _MOST_HIGHLIGHTED:
            return Content(code)
        return super().highlight(code, language, ansi, dark)


class SafeMarkdown(Markdown):
    """A Markdown widget for text from anywhere."""

    BLOCKS = {**Markdown.BLOCKS, "fence": SafeFence, "code_block": SafeFence}  # noqa: RUF012  as Textual has it

    def __init__(self, markdown: str = "") -> None:
        super().__init__(markdown, parser_factory=parser, open_links=False)
