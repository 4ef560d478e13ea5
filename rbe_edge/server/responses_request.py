"""The requests of OpenAI's responses as values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rbe_edge.runtime.chat_template import Message
from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatRequest,
    Request,
    grammar_of_call,
    response_format,
    tool_choice,
    tool_of,
)
from rbe_edge.server.fields import Fields, parse_json
from rbe_edge.server.forms import Json
from rbe_edge.server.sampling_fields import sampling_of, stops_of
from rbe_edge.server.tool_calls import Tool

#: What needs a memory of earlier responses, or work behind the client's back.
_REFUSED = {
    "previous_response_id": "responses are not kept; send the whole conversation as `input`",
    "conversation": "conversations are not kept; send the whole one as `input`",
    "background": "answers are given while the client waits",
    "prompt": "there are no stored prompts; send the text",
}
_ECHOED = ("instructions", "max_output_tokens", "temperature", "top_p", "tool_choice", "metadata", "text", "user")


@dataclass(frozen=True)
class ResponseRequest:
    """echo: what the response says again of the request."""

    chat: ChatRequest
    echo: Json


def read_response(fields: Fields) -> ResponseRequest:
    for name, reason in _REFUSED.items():
        if fields.raw(name):
            raise wrong(name, f"`{name}` is not supported: {reason}")
    tools = tuple(_tool(entry) for entry in fields.objects("tools", MAX_TOOLS) or [])
    offered, needed = tool_choice(fields, tools)
    text = fields.object("text")
    answer = response_format(text.object("format") if text is not None else None)
    if needed and answer is not None:
        raise wrong("text.format", "`text.format` cannot be met while `tool_choice` asks for a call")
    answer = grammar_of_call(needed) if needed else answer
    base = Request(
        choices=1,
        stream=fields.flag("stream"),
        include_usage=True,
        max_tokens=fields.whole("max_output_tokens", 1, 2**31 - 1),
        sampling=sampling_of(fields),
        stop=stops_of(fields),
        top_logprobs=None,
    )
    chat = ChatRequest(base, _messages(fields), offered, answer, "tools" if needed else "text.format.schema")
    echo = {name: fields.raw(name) for name in _ECHOED}
    echo |= {"tools": fields.raw("tools") or [], "tool_choice": echo["tool_choice"] or "auto"}
    echo |= {"text": echo["text"] or {"format": {"type": "text"}}, "metadata": echo["metadata"] or {}}
    return ResponseRequest(chat, echo)


def _tool(entry: Fields) -> Tool:
    if entry.text("type") != "function":
        raise wrong(entry.path("type"), f"`{entry.path('type')}` must be function: this server has no tools of its own")
    return tool_of(entry, "parameters")


def _messages(fields: Fields) -> tuple[Message, ...]:
    instructions, given = fields.text("instructions"), fields.raw("input")
    found = [Message("system", instructions)] if instructions else []
    if isinstance(given, str):
        items = [Message("user", given)] if given else []
    else:
        items = [message for entry in fields.objects("input", MAX_MESSAGES) or [] for message in _item(entry)]
    if not items:
        raise wrong("input", "`input` must be a text, or a list of at least one item")
    return tuple(_joined([*found, *items]))


def _joined(messages: list[Message]) -> list[Message]:
    """Calls that follow one another, or a text of the assistant, are one turn."""
    found: list[Message] = []
    for message in messages:
        calls = message.fields.get("tool_calls")
        if isinstance(calls, list) and found and found[-1].role == "assistant":
            before = found[-1].fields.get("tool_calls")
            together = [*(before if isinstance(before, list) else []), *calls]
            found[-1] = Message("assistant", found[-1].content, {**found[-1].fields, "tool_calls": together})
        else:
            found.append(message)
    return found


def _item(entry: Fields) -> list[Message]:
    kind = entry.text("type") or "message"
    if kind == "reasoning":
        return []  # of another model, or of an earlier turn
    if kind == "function_call":
        arguments: Any = entry.text("arguments") or "{}"
        try:
            arguments = parse_json(arguments)
        except ValueError:
            pass
        function = {"name": entry.required_text("name"), "arguments": arguments}
        call = {"id": entry.text("call_id"), "type": "function", "function": function}
        return [Message("assistant", "", {"tool_calls": [call]})]
    if kind == "function_call_output":
        return [Message("tool", _content(entry, "output"), {"tool_call_id": entry.text("call_id")})]
    if kind != "message":
        raise wrong(entry.path("type"), f"`{entry.path('type')}`: items of type {json.dumps(kind)} are not supported")
    role = entry.text("role")
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant"):
        raise wrong(entry.path("role"), f"`{entry.path('role')}` must be system, developer, user or assistant")
    return [Message(role, _content(entry, "content"))]


def _content(entry: Fields, name: str) -> str:
    value, path = entry.raw(name), entry.path(name)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(path, f"`{path}` must be a text, or a list of parts of text")
    texts = []
    for part in entry.objects(name, MAX_MESSAGES) or []:
        kind = part.text("type")
        if kind not in ("input_text", "output_text", "text", "refusal"):
            raise wrong(path, f"`{path}`: parts of type {json.dumps(kind)} are not supported, only text")
        texts.append(part.required_text("refusal" if kind == "refusal" else "text"))
    return "".join(texts)
