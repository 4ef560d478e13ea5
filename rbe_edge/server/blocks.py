"""An answer as a row of blocks: text, thoughts, calls of tools. Responses and Anthropic's messages are made of such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rbe_edge.server.forms import Parts
from rbe_edge.server.tool_calls import Part, Thought, ToolCall

Kind = Literal["text", "thought", "call"]


def kind_of(part: Part) -> Kind:
    return "call" if isinstance(part, ToolCall) else "thought" if isinstance(part, Thought) else "text"


class Blocks:
    """Says where a block begins. White space at the beginning of a text waits for the words behind it: that between two
    calls is no text of its own."""

    def __init__(self) -> None:
        self._kind: Kind | None = None
        self._blank = ""

    def split(self, parts: Parts) -> Iterator[tuple[bool, Part]]:
        """Each part with whether it begins a block. A call is a block of its own."""
        for part in parts:
            kind = kind_of(part)
            if isinstance(part, str) and self._kind != "text":
                part = self._blank + part
                if not part.strip():
                    self._blank = part
                    continue
            if isinstance(part, str) and not part:
                continue
            self._blank = ""
            begins = kind != self._kind or kind == "call"
            self._kind = kind
            yield begins, part
