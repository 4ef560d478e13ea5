"""Markdown of a model, which is never trusted: no links that open, no HTML, no control characters, bounded work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.selection import Selection
from textual.widgets import Static

from rbe_edge.terminal_text import printable
from rbe_edge.tui.widgets.hanging import Hanging
from rbe_edge.tui.widgets.markdown_content import block_lines, hides

_CODE = ("fence", "code_block")
_MOST_TOKENS = 3000  # of a text; one with more is no longer read by a person, and is shown as it is


def _make_safe(state: StateCore) -> None:
    """After parsing, because entities such as &#8238; become characters only there."""
    if len(state.tokens) > _MOST_TOKENS:
        state.tokens = [Token("fence", "", 0, content=state.src, map=[0, state.src.count("\n") + 1], block=True)]
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


class Block(Static):
    """One block of the highest level: a paragraph, a list, a table."""

    def __init__(self, content: Content | Hanging, kind: str) -> None:
        """kind: the type of the block's first token."""
        super().__init__(content, classes="block")
        self.set_kind(kind)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What of it is selected with the mouse."""
        if isinstance(self.content, Hanging):
            return selection.extract(self.content.laid.plain), "\n"
        return super().get_selection(selection)

    def set_kind(self, kind: str) -> None:
        self.kind = kind
        self.set_class(kind in _CODE, "code")
        self.set_class(kind in (*_CODE, "table_open"), "wide")


class SafeMarkdown(Vertical):
    """Markdown that grows at its end. Only its last block is read again when more comes."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._parser = parser()
        self._open = ""  # the source of the last block, which may still grow
        self._first = text

    def compose(self) -> ComposeResult:
        yield from self._blocks(self._first)

    def _blocks(self, source: str) -> Iterator[Block]:
        """The blocks of a text; the last of them stays open."""
        tokens = self._parser.parse(source)
        lines = source.split("\n")  # as the parser counts them
        starts = [index for index, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
        for start, end in pairwise([*starts, len(tokens)]):
            block = tokens[start:end]
            laid, place = block_lines(block), block[0].map
            content: Content | Hanging = Content("\n").join([line.text for line in laid])
            if any(line.mark for line in laid):
                content = Hanging(laid)
            if place is not None:
                own = "\n".join(lines[place[0] : place[1]])
                if hides(own, str(content), table=block[0].type == "table_open"):
                    content = Content(own)  # as it was written: no text of a model is hidden
            yield Block(content, block[0].type)
        last = tokens[starts[-1]].map if starts else None
        self._open = "\n".join(lines[last[0] :]) if last else source

    async def append(self, text: str) -> None:
        """More of the text. One call at a time."""
        blocks = list(self._blocks(self._open + text))
        shown = list(self.query_children(Block))
        if shown and blocks:
            grown = blocks.pop(0)
            shown[-1].update(grown.content)
            shown[-1].set_kind(grown.kind)
        if blocks:
            await self.mount_all(blocks)
