"""The requests of OpenAI's API as values: what is understood of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbe_edge.grammar.grammar import Grammar, any_object, of_schema
from rbe_edge.grammar.schema_error import SchemaError
from rbe_edge.runtime.chat_template import Message
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.server.api_error import wrong
from rbe_edge.server.fields import Fields, parse_json
from rbe_edge.server.sampling_fields import sampling_of, stops_of
from rbe_edge.server.tool_calls import Tool, call_grammar

MAX_MESSAGES = 10_000
MAX_TOOLS = 128
_MAX_PROBABILITIES = 20  # of other tokens than the one that was drawn
_MAX_CHOICES = 32  # answers to one request

#: Keywords beside which `"properties": {}` says that a function takes nothing.
_PLAIN_KEYWORDS = frozenset({"type", "properties", "required", "title", "description", "$schema"})


@dataclass(frozen=True)
class Request:
    """What both kinds of completion have. choices: answers to each prompt. max_tokens None: until the context is full.
    top_logprobs None: none are wanted; 0: those of the tokens themselves."""

    choices: int
    stream: bool
    include_usage: bool
    max_tokens: int | None
    sampling: SamplingOptions
    stop: tuple[str, ...]
    top_logprobs: int | None


@dataclass(frozen=True)
class ChatRequest:
    """tools: empty where none are to be offered. grammar: what the answer must fit; grammar_param: what demands it.
    variables: further ones for the template, such as `enable_thinking`. continues: the last message is the beginning of
    the answer."""

    base: Request
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    grammar: Grammar | None
    grammar_param: str
    variables: Mapping[str, object] = field(default_factory=dict, hash=False)
    continues: bool = False


@dataclass(frozen=True)
class TextRequest:
    """prompts: texts, or token ids. suffix: what follows the gap between it and a prompt, None: nothing."""

    base: Request
    prompts: tuple[str | list[int], ...]
    suffix: str | None = None


def read_chat(fields: Fields) -> ChatRequest:
    flag, top = fields.flag("logprobs"), fields.whole("top_logprobs", 0, 20)
    if top is not None and not flag:
        raise wrong("top_logprobs", "`top_logprobs` needs `logprobs`: true")
    probable = fields.whole("n_probs", 0, _MAX_PROBABILITIES) or None
    scored = (top or 0) if flag else probable
    base = _base(fields, ("max_completion_tokens", "max_tokens"), scored)
    messages = read_messages(fields)
    tools = tuple(read_tool(entry) for entry in fields.objects("tools", MAX_TOOLS) or [])
    offered, needed = tool_choice(fields, tools)
    answer = response_format(fields.object("response_format"))
    if needed and answer is not None:
        raise wrong("response_format", "`response_format` cannot be met while `tool_choice` asks for a call")
    answer = grammar_of_call(needed) if needed else answer
    asked, more = "tools" if needed else "response_format", fields.object("chat_template_kwargs")
    continues, name = fields.flag("continue_final_message"), "continue_final_message"
    if continues and not can_continue(messages, answer):
        raise wrong(name, f"`{name}` needs a text of the assistant as the last message, and no format or call")
    return ChatRequest(base, messages, offered, answer, asked, {} if more is None else more.values, continues)


def can_continue(messages: Sequence[Message], answer: Grammar | None) -> bool:
    """Whether the last message can be the beginning of the answer. answer: what all of it must fit."""
    last = messages[-1] if len(messages) > 1 else None
    if last is None or answer is not None:
        return False
    return last.role == "assistant" and bool(last.content) and "tool_calls" not in last.fields


def read_messages(fields: Fields) -> tuple[Message, ...]:
    messages = fields.objects("messages", MAX_MESSAGES)
    if not messages:
        raise wrong("messages", "`messages` must be a list with at least one message")
    return tuple(_message(entry) for entry in messages)


def grammar_of_call(needed: tuple[Tool, ...]) -> Grammar:
    """Of an answer that is a call of one of the tools."""
    try:
        return call_grammar(needed)
    except SchemaError as error:
        raise wrong("tools", str(error)) from None


def read_text(fields: Fields) -> TextRequest:
    if fields.flag("echo"):
        raise wrong("echo", "`echo` is not supported")
    for name, off in (("best_of", 1), ("response_format", {"type": "text"})):
        if fields.raw(name) not in (None, off):
            raise wrong(name, f"`{name}` is not supported")
    scored, probable = fields.whole("logprobs", 0, 5), fields.whole("n_probs", 0, _MAX_PROBABILITIES) or None
    scored = probable if scored is None else scored
    base = _base(fields, ("max_tokens", "n_predict"), scored)
    prompts = inputs_of(fields, "prompt")
    if len(prompts) * base.choices > _MAX_CHOICES:
        raise wrong("prompt", f"`prompt` and `n` ask for more than {_MAX_CHOICES} answers; send several requests")
    suffix = fields.text("suffix") or None
    if suffix is not None and not all(isinstance(prompt, str) for prompt in prompts):
        raise wrong("suffix", "`suffix` needs a `prompt` of text")
    return TextRequest(base, tuple(prompts), suffix)


def _base(fields: Fields, limits: tuple[str, ...], top_logprobs: int | None) -> Request:
    options = fields.object("stream_options")
    given = [fields.whole(name, 1, 2**31 - 1) for name in limits]
    max_tokens = next((limit for limit in given if limit is not None), None)
    return Request(
        choices=fields.whole("n", 1, _MAX_CHOICES) or 1,
        stream=fields.flag("stream"),
        include_usage=options.flag("include_usage") if options is not None else False,
        max_tokens=max_tokens,
        sampling=sampling_of(fields),
        stop=stops_of(fields),
        top_logprobs=top_logprobs,
    )


def inputs_of(fields: Fields, name: str) -> list[str | list[int]]:
    """A text, a list of texts, a list of token ids, or a list of such lists."""
    value = fields.raw(name)
    given = [value] if isinstance(value, str) or _are_tokens(value) else value
    if isinstance(given, list) and 0 < len(given) <= 2048:
        if all((isinstance(one, str) and one) or _are_tokens(one) for one in given):
            return given
    raise wrong(name, f"`{name}` must be a text or a list of token ids, neither of them empty")


def _are_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


# ---- messages ----


def _message(entry: Fields) -> Message:
    role = entry.text("role")
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant", "tool"):
        raise wrong(entry.path("role"), f"`{entry.path('role')}` must be system, developer, user, assistant or tool")
    fields: dict[str, object] = {}
    calls = entry.objects("tool_calls", MAX_TOOLS) if role == "assistant" else None
    if calls:
        fields["tool_calls"] = [_earlier_call(call) for call in calls]
    if role == "tool":
        fields["tool_call_id"] = entry.text("tool_call_id")
    name = entry.text("name")
    if name is not None:
        fields["name"] = name
    return Message(role, _content(entry, optional=bool(calls)), fields)


def _content(entry: Fields, optional: bool) -> str:
    value, path = entry.raw("content"), entry.path("content")
    if isinstance(value, str):
        return value
    if value is None and optional:
        return ""
    if not isinstance(value, list) or not value:
        raise wrong(path, f"`{path}` must be a text, or a list of parts of type text")
    texts = []
    for part in entry.objects("content", MAX_MESSAGES) or []:
        kind = part.text("type")
        if kind not in ("text", "refusal"):
            raise wrong(path, f"`{path}`: parts of type {json.dumps(kind)} are not supported, only text")
        texts.append(part.required_text(kind))
    return "".join(texts)


def _earlier_call(call: Fields) -> dict[str, object]:
    """As templates want it: the arguments as an object, which the API writes as a text."""
    function = call.object("function")
    if function is None:
        raise wrong(call.path("function"), f"`{call.path('function')}` is missing")
    text = function.text("arguments") or "{}"
    try:
        arguments = parse_json(text)
    except ValueError:
        arguments = text
    name = function.required_text("name")
    return {"id": call.text("id"), "type": "function", "function": {"name": name, "arguments": arguments}}


# ---- tools and formats ----


def read_tool(entry: Fields) -> Tool:
    if entry.text("type") != "function":
        raise wrong(entry.path("type"), f"`{entry.path('type')}` must be function")
    function = entry.object("function")
    if function is None:
        raise wrong(entry.path("function"), f"`{entry.path('function')}` is missing")
    return tool_of(function, "parameters")


def tool_of(function: Fields, schema: str) -> Tool:
    """schema: the field that holds the schema of its arguments."""
    name = function.required_text("name")
    if not 0 < len(name) <= 64 or not all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name):
        raise wrong(function.path("name"), f"`{function.path('name')}` must be 1 to 64 letters, digits, _ and -")
    return Tool(name, function.text("description") or "", _parameters(function, schema))


def _parameters(function: Fields, name: str) -> Mapping[str, Any]:
    """The schema of a function's arguments. One that names no parameters takes none, as OpenAI's API says."""
    given: Any = function.raw(name)
    if given is not None and not isinstance(given, Mapping):
        raise wrong(function.path(name), f"`{function.path(name)}` must be an object")
    if not given:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    names_none = given.get("properties") == {} and given.get("type") == "object" and not given.get("required")
    return {**given, "additionalProperties": False} if names_none and not set(given) - _PLAIN_KEYWORDS else given


def tool_choice(fields: Fields, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """The tools that are offered, and those of which one must be called. A function may be named as in chats, or as in
    responses."""
    choice = fields.raw("tool_choice")
    if choice is None or choice == "auto":
        return tools, ()
    if choice == "none":
        return (), ()
    if not tools:
        raise wrong("tool_choice", "`tool_choice` needs `tools`")
    if choice == "required":
        return tools, tools
    chosen = fields.object("tool_choice") if isinstance(choice, dict) else None
    function = chosen.object("function") or chosen if chosen is not None else None
    if function is None or function.raw("name") is None:
        raise wrong("tool_choice", "`tool_choice` must be none, auto, required, or an object that names a function")
    name = function.required_text("name")
    needed = tuple(tool for tool in tools if tool.name == name)
    if not needed:
        raise wrong("tool_choice", f"`tool_choice`: there is no tool {json.dumps(name)}")
    return tools, needed


def response_format(chosen: Fields | None) -> Grammar | None:
    """As in chats; in responses the schema stands in the format itself."""
    if chosen is None:
        return None
    kind = chosen.text("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return any_object()
    path = chosen.path("type").removesuffix(".type")
    if kind != "json_schema":
        raise wrong(f"{path}.type", f"`{path}.type` must be text, json_object or json_schema")
    described = chosen.object("json_schema") or chosen
    if described.raw("schema") is None:
        raise wrong(f"{path}.json_schema", f"`{path}.json_schema.schema` is missing")
    return grammar_of_schema(described.raw("schema"), described.path("schema"))


def grammar_of_schema(schema: Any, param: str) -> Grammar:
    """Of an answer that the schema allows. param: the field that it comes from."""
    try:
        return of_schema(schema)
    except SchemaError as error:
        raise wrong(param, str(error)) from None
