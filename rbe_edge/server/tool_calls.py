"""Calls of tools as Hermes and Qwen write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call> in a text."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rbe_edge.grammar.grammar import Grammar, framed, framed_in_prose
from rbe_edge.server.fields import parse_json

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_THINK, _THOUGHT = "<think>", "</think>"
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
    return framed((_OPEN + head, parameters, end) for head, parameters, end in _frames(tools))


def free_grammar(tools: tuple[Tool, ...]) -> Grammar:
    """Any text, in which each call is one of the tools with arguments as their schema says. Raises SchemaError."""
    return framed_in_prose(_frames(tools), _OPEN)


def _frames(tools: tuple[Tool, ...]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Of each tool: what stands between the opening and the arguments, their schema, and what stands behind them."""
    for tool in tools:
        yield f'\n{{"name": {json.dumps(tool.name)}, "arguments": ', tool.parameters, f"}}\n{_CLOSE}"


def written_call(name: str, arguments: str) -> str:
    """A call as a model writes it; arguments: JSON."""
    return f'{_OPEN}\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n{_CLOSE}'


@dataclass(frozen=True)
class Thought:
    """What a model thinks before it answers."""

    text: str


Part = str | ToolCall | Thought


class WordReader:
    """Takes an answer in pieces; all of it is text."""

    def push(self, piece: str) -> list[Part]:
        return [piece]

    def finish(self) -> list[Part]:
        """What was held back."""
        return []


class ThoughtReader(WordReader):
    """Separates what stands in <think> tags at the beginning; another reader takes the rest."""

    def __init__(self, inner: WordReader, opened: bool) -> None:
        """opened: the prompt ends with the opening tag."""
        self._inner = inner
        self._held = ""
        self._state = "inside" if opened else "before"

    def push(self, piece: str) -> list[Part]:
        if self._state == "behind":
            return self._inner.push(piece)
        self._held += piece
        found: list[Part] = []
        if self._state == "before":
            start = self._held.lstrip()
            if _THINK.startswith(start[: len(_THINK)]) and len(start) < len(_THINK):
                return []
            if not start.startswith(_THINK):
                return self._rest()
            self._state, self._held = "inside", start.removeprefix(_THINK)
        end = self._held.find(_THOUGHT)
        shown = end if end >= 0 else len(self._held) - _overlap(self._held, _THOUGHT)
        if shown > 0:
            found.append(Thought(self._held[:shown]))
        if end < 0:
            self._held = self._held[shown:]
            return found
        self._held = self._held[end + len(_THOUGHT) :]
        return [*found, *self._rest()]

    def _rest(self) -> list[Part]:
        held, self._held, self._state = self._held, "", "behind"
        return self._inner.push(held) if held else []

    def finish(self) -> list[Part]:
        held, self._held = self._held, ""
        if self._state == "inside":
            return [Thought(held)] if held else []
        return [*(self._inner.push(held) if held else []), *self._inner.finish()]


class ToolCallReader(WordReader):
    """Takes an answer in pieces and separates text from calls. A call that is not valid stays text."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> list[Part]:
        self._held += piece
        found: list[Part] = []
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

    def finish(self) -> list[Part]:
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
