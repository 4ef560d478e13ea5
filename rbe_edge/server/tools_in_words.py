"""Tools for models whose chat template has no place for them: said in words, in the form that Hermes and Qwen use.

The system message lists the functions and says how a call is written. Calls and results of earlier turns become words
of the assistant and of the user. That what the model writes as a call is one is left to a grammar (tool_calls.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rbe_edge.runtime.chat_template import Message
from rbe_edge.server.tool_calls import Tool, written_call

_INTRODUCTION = """\
You can call functions. Their names and the JSON Schemas of their arguments:
{functions}
To call one, write:
<tool_call>
{{"name": "NAME", "arguments": {{...}}}}
</tool_call>"""


def in_words(messages: Sequence[Message], tools: Sequence[Tool], *, has_system: bool = True) -> list[Message]:
    """The conversation without fields of tools and without turns of the role `tool`. Results that follow one another,
    and what the user says behind them, are one turn: many templates want turns by turns. has_system: False where the
    template takes no system message, so that the user says what the functions are."""
    found: list[Message] = []
    answers = False  # the last turn is of results
    for message in messages:
        said = _in_words(message)
        if answers and said.role == "user":
            found[-1] = Message("user", f"{found[-1].content}\n{said.content}")
        else:
            found.append(said)
        answers = message.role == "tool"
    return _introduced(found, tools, "system" if has_system else "user") if tools else found


def _in_words(message: Message) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>\n{message.content}\n</tool_response>")
    if message.role != "assistant" or not message.fields.get("tool_calls"):
        return message
    calls = [written_call(*_parts(call)) for call in _calls(message)]
    others = {name: value for name, value in message.fields.items() if name != "tool_calls"}
    return Message("assistant", "\n".join([*filter(None, [message.content]), *calls]), others)


def _introduced(messages: list[Message], tools: Sequence[Tool], role: str) -> list[Message]:
    functions = "\n".join(json.dumps(tool.as_template_sees_it()["function"], ensure_ascii=False) for tool in tools)
    words = _INTRODUCTION.format(functions=functions)
    if messages and messages[0].role == role:
        first = messages[0]
        content = f"{first.content}\n\n{words}" if role == "system" else f"{words}\n\n{first.content}"
        return [Message(role, content, first.fields), *messages[1:]]
    return [Message(role, words), *messages]


def _calls(message: Message) -> Sequence[object]:
    calls = message.fields.get("tool_calls")
    return calls if isinstance(calls, list) else []


def _parts(call: object) -> tuple[str, str]:
    """The name and the arguments, as JSON, of a call as templates see it."""
    function = call.get("function") if isinstance(call, dict) else None
    assert isinstance(function, dict)  # chat_request.py makes them
    arguments = function["arguments"]
    return function["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
