"""The requests of Anthropic's messages as values."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rbe_edge.runtime.chat_template import Message
from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatRequest,
    Request,
    can_continue,
    grammar_of_call,
    response_format,
    tool_of,
)
from rbe_edge.server.fields import Fields
from rbe_edge.server.sampling_fields import sampling_of, stops_of
from rbe_edge.server.tool_calls import Tool


@dataclass(frozen=True)
class MessagesRequest:
    """thinks: thoughts are asked for, and told apart."""

    chat: ChatRequest
    thinks: bool


def read_messages_request(fields: Fields, *, needs_limit: bool = True) -> MessagesRequest:
    """needs_limit: `max_tokens` must be there."""
    limit = fields.whole("max_tokens", 1, 2**31 - 1)
    if limit is None and needs_limit:
        raise wrong("max_tokens", "`max_tokens` is missing")
    tools = tuple(_tool(entry) for entry in fields.objects("tools", MAX_TOOLS) or [])
    offered, needed = _choice(fields.object("tool_choice"), tools)
    base = Request(
        choices=1,
        stream=fields.flag("stream"),
        include_usage=True,
        max_tokens=limit,
        sampling=sampling_of(fields),
        stop=stops_of(fields, "stop_sequences"),
        top_logprobs=None,
    )
    thinking = fields.object("thinking")
    kind = None if thinking is None else thinking.text("type")
    if kind not in (None, "enabled", "adaptive", "disabled"):
        raise wrong("thinking.type", "`thinking.type` must be enabled, adaptive or disabled")
    variables = {} if kind is None else {"enable_thinking": kind != "disabled"}
    output = fields.object("output_config")
    grammar = response_format(output.object("format") if output is not None else None)
    if needed and grammar is not None:
        raise wrong("output_config.format", "`output_config.format` cannot be met while `tool_choice` asks for a call")
    grammar, asked = (grammar_of_call(needed), "tools") if needed else (grammar, "output_config.format.schema")
    messages = _messages(fields)
    chat = ChatRequest(base, messages, offered, grammar, asked, variables, can_continue(messages, grammar))
    return MessagesRequest(chat, kind in ("enabled", "adaptive"))


def _tool(entry: Fields) -> Tool:
    if entry.text("type") not in (None, "custom"):
        raise wrong(entry.path("type"), f"`{entry.path('type')}` must be custom: this server has no tools of its own")
    return tool_of(entry, "input_schema")


def _choice(choice: Fields | None, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """The tools that are offered, and those of which one must be called."""
    kind = None if choice is None else choice.text("type")
    if kind is None or kind == "auto":
        return tools, ()
    if kind == "none":
        return (), ()
    if not tools:
        raise wrong("tool_choice", "`tool_choice` needs `tools`")
    if kind == "any":
        return tools, tools
    if kind != "tool" or choice is None:
        raise wrong("tool_choice.type", "`tool_choice.type` must be auto, any, tool or none")
    name = choice.required_text("name")
    needed = tuple(tool for tool in tools if tool.name == name)
    if not needed:
        raise wrong("tool_choice", f"`tool_choice`: there is no tool {json.dumps(name)}")
    return tools, needed


def _messages(fields: Fields) -> tuple[Message, ...]:
    entries = fields.objects("messages", MAX_MESSAGES)
    if not entries:
        raise wrong("messages", "`messages` must be a list with at least one message")
    system = _text(fields, "system") if fields.raw("system") is not None else ""
    found = [Message("system", system)] if system else []
    for entry in entries:
        found += _turn(entry)
    return tuple(found)


def _turn(entry: Fields) -> list[Message]:
    """A message; results of tools become messages of their own, before what else the user says."""
    role = entry.text("role")
    if role not in ("user", "assistant", "system"):
        raise wrong(entry.path("role"), f"`{entry.path('role')}` must be user or assistant")
    if isinstance(entry.raw("content"), str):
        return [Message(role, entry.required_text("content"))]
    texts, calls, results, thoughts = [], [], [], []
    if not isinstance(entry.raw("content"), list):
        raise wrong(entry.path("content"), f"`{entry.path('content')}` must be a text or a list of blocks")
    for block in entry.objects("content", MAX_MESSAGES) or []:
        kind = block.text("type")
        if kind == "text":
            texts.append(block.required_text("text"))
        elif kind == "tool_use" and role == "assistant":
            given = block.object("input")
            function = {"name": block.required_text("name"), "arguments": {} if given is None else dict(given.values)}
            calls.append({"id": block.text("id"), "type": "function", "function": function})
        elif kind == "tool_result" and role == "user":
            said = _text(block, "content") if block.raw("content") is not None else ""
            results.append(Message("tool", said, {"tool_call_id": block.text("tool_use_id")}))
        elif kind == "thinking" and role == "assistant":
            thoughts.append(block.text("thinking") or "")
        elif kind != "redacted_thinking":
            raise wrong(block.path("type"), f"`{block.path('type')}`: {json.dumps(kind)} is not supported here")
    more: dict[str, object] = {"tool_calls": calls} if calls else {}
    if thoughts:
        more["reasoning_content"] = "".join(thoughts)
    spoken = [Message(role, "".join(texts), more)] if texts or more or not results else []
    return [*results, *spoken]


def _text(entry: Fields, name: str) -> str:
    """A text, or a list of blocks of text."""
    value, path = entry.raw(name), entry.path(name)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(path, f"`{path}` must be a text or a list of blocks")
    texts = []
    for block in entry.objects(name, MAX_MESSAGES) or []:
        if block.text("type") != "text":
            raise wrong(block.path("type"), f"`{block.path('type')}` must be text")
        texts.append(block.required_text("text"))
    return "".join(texts)
