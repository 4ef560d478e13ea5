"""Calls of tools as Hermes and Qwen write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call> in a text."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rbe_edge.grammar.grammar import Grammar, framed
from rbe_edge.server.fields import parse_json

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MAX_CALL = 1 << 20  # characters


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for; parameters: a JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def as_template_sees_it(self) -> dict[str, object]:
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolCall:
    """arguments: JSON."""

    id: str
    name: str
    arguments: str


def call_grammar(tools: tuple[Tool, ...]) -> Grammar:
    """One call of one of the tools, its arguments as their schema says. Raises SchemaError."""
    heads = (f'{_OPEN}\n{{"name": {json.dumps(tool.name)}, "arguments": ' for tool in tools)
    return framed((head, tool.parameters, f"}}\n{_CLOSE}") for head, tool in zip(heads, tools, strict=True))


class WordReader:
    """Takes an answer in pieces; all of it is text."""

    def push(self, piece: str) -> list[str | ToolCall]:
        return [piece]

    def finish(self) -> list[str | ToolCall]:
        """What was held back."""
        return []


class ToolCallReader(WordReader):
    """Takes an answer in pieces and separates text from calls. A call that is not valid stays text."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> list[str | ToolCall]:
        self._held += piece
        found: list[str | ToolCall] = []
        while self._held:
            start = self._held.find(_OPEN)
            if start < 0:
                start = len(self._held) - _overlap(self._held, _OPEN)
            if start > 0:
                found.append(self._held[:start])
                self._held = self._held[start:]
                continue
            end = self._held.find(_CLOSE)
            if end < 0 and len(self._held) <= _MAX_CALL:
                break
            end = end + len(_CLOSE) if end >= 0 else len(self._held)
            found.append(_read_call(self._held[:end]))
            self._held = self._held[end:]
        return found

    def finish(self) -> list[str | ToolCall]:
        """What was held back; a call without its closing tag counts where it is complete."""
        held, self._held = self._held, ""
        return [_read_call(held)] if held else []


def _overlap(text: str, tag: str) -> int:
    """How much of the text's end may be the beginning of the tag."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)


def _read_call(text: str) -> str | ToolCall:
    inner = text.removeprefix(_OPEN).removesuffix(_CLOSE)
    if not text.startswith(_OPEN):
        return text
    try:
        call = parse_json(inner)
    except ValueError:
        return text
    arguments = call.get("arguments", call.get("parameters", {})) if isinstance(call, dict) else None
    if not isinstance(arguments, dict) or not isinstance(call.get("name"), str):
        return text
    return ToolCall(f"call_{secrets.token_hex(12)}", call["name"], json.dumps(arguments, ensure_ascii=False))
