"""The requests of Ollama's API as values: what is understood of them, and what is refused."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rbe_edge.grammar.grammar import Grammar, any_object
from rbe_edge.runtime.chat_template import Message
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatRequest,
    Request,
    can_continue,
    grammar_of_schema,
    read_tool,
)
from rbe_edge.server.fields import Fields
from rbe_edge.server.sampling_fields import sampling_of, stops_of

#: What Ollama does where a request says nothing.
_SAMPLING = SamplingOptions(temperature=0.8, top_k=40, top_p=0.9)
_DURATION = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_PARTS = 8  # of a duration
_WORDS_OF_THOUGHT = ("low", "medium", "high")


@dataclass(frozen=True)
class OllamaRequest:
    """chat: with its messages; empty where the model is only to be loaded, or to go. think: whether thoughts are told
    apart; None: where the model has some. keep: seconds that the model stays, None: as before."""

    chat: ChatRequest
    think: bool | None
    keep: float | None

    @property
    def stream(self) -> bool:
        return self.chat.base.stream


@dataclass(frozen=True)
class GenerateRequest:
    """prompt: of a plain completion. suffix: what follows the gap that is to be filled, None: nothing. raw: the prompt
    is already what the model reads; else it is a user's message."""

    asked: OllamaRequest
    prompt: str
    suffix: str | None
    raw: bool


def read_chat(fields: Fields) -> OllamaRequest:
    entries = fields.objects("messages", MAX_MESSAGES) or []
    messages = tuple(_message(entry) for entry in entries)
    tools = tuple(read_tool(entry) for entry in fields.objects("tools", MAX_TOOLS) or [])
    return _asked(fields, replace(_chat(fields, messages), tools=tools))


def read_generate(fields: Fields) -> GenerateRequest:
    for name in ("images", "template", "context"):
        if fields.raw(name):
            raise wrong(name, f"`{name}` is not supported")
    prompt, system = fields.text("prompt") or "", fields.text("system")
    before = [Message("system", system)] if system else []
    messages = (*before, Message("user", prompt)) if prompt else ()
    asked = _asked(fields, _chat(fields, messages))
    return GenerateRequest(asked, prompt, fields.text("suffix") or None, fields.flag("raw"))


def keep_alive(fields: Fields) -> float | None:
    """Seconds: a number, or a duration such as "5m"; what is below 0 means for ever. None where it is missing."""
    value = fields.raw("keep_alive")
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        seconds = _duration(value if isinstance(value, str) else "")
    return math.inf if seconds < 0 else seconds


def _duration(text: str) -> float:
    parts = _DURATION.findall(text)
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return float(text)
    if not parts or len(parts) > _MOST_PARTS or "".join(map("".join, parts)) != text:
        raise wrong("keep_alive", '`keep_alive` must be seconds, or a duration such as "5m"')
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def _chat(fields: Fields, messages: tuple[Message, ...]) -> ChatRequest:
    options = fields.object("options") or Fields({}, "options.")
    limit = options.whole("num_predict", -2, 2**31 - 1)
    top = fields.whole("top_logprobs", 0, 20)
    stream = fields.raw("stream") is None or fields.flag("stream")
    base = Request(
        choices=1,
        stream=stream,
        include_usage=True,
        max_tokens=None if limit is None or limit < 1 else limit,
        sampling=sampling_of(options, replace(_SAMPLING, seed=secrets.randbits(64))),
        stop=stops_of(options),
        top_logprobs=(top or 0) if fields.flag("logprobs") else None,
    )
    grammar = _format(fields.raw("format"))
    return ChatRequest(base, messages, (), grammar, "format", continues=can_continue(messages, grammar))


def _format(wanted: Any) -> Grammar | None:
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return any_object()
    if not isinstance(wanted, Mapping):
        raise wrong("format", '`format` must be "json" or a JSON schema')
    return grammar_of_schema(wanted, "format")


def _asked(fields: Fields, chat: ChatRequest) -> OllamaRequest:
    think = fields.raw("think")
    if isinstance(think, str) and think in _WORDS_OF_THOUGHT:
        chat, think = replace(chat, variables={"reasoning_effort": think}), True
    elif think is not None and not isinstance(think, bool):
        raise wrong("think", "`think` must be true, false, low, medium or high")
    if think is not None:
        chat = replace(chat, variables={**chat.variables, "enable_thinking": think})
    return OllamaRequest(chat, think, keep_alive(fields))


def _message(entry: Fields) -> Message:
    role = entry.text("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise wrong(entry.path("role"), f"`{entry.path('role')}` must be system, user, assistant or tool")
    if entry.raw("images"):
        raise wrong(entry.path("images"), f"`{entry.path('images')}`: this server reads no images")
    fields: dict[str, object] = {}
    thought, name = entry.text("thinking"), entry.text("tool_name") or entry.text("name")
    if thought:
        fields["reasoning_content"] = thought
    if name:
        fields["name"] = name
    calls = entry.objects("tool_calls", MAX_TOOLS) if role == "assistant" else None
    if calls:
        fields["tool_calls"] = [_earlier_call(call) for call in calls]
    return Message(role, entry.text("content") or "", fields)


def _earlier_call(call: Fields) -> dict[str, object]:
    function = call.object("function")
    if function is None:
        raise wrong(call.path("function"), f"`{call.path('function')}` is missing")
    arguments = function.object("arguments")
    values = {} if arguments is None else dict(arguments.values)
    name = function.required_text("name")
    return {"type": "function", "function": {"name": name, "arguments": values}}
