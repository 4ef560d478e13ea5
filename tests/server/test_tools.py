"""Calls of tools: what is read of an answer, and the whole way with a template that has them."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_tools import running

from rbe_edge.runtime.model import Model
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.chat_request import read_chat
from rbe_edge.server.fields import Fields
from rbe_edge.server.tool_calls import ToolCall, ToolCallReader

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'

#: After that of Qwen 2.5, shortened.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
"""

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"type": "boolean"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
EMPTY = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("absent", NOTHING), (None, NOTHING), ({}, NOTHING), (EMPTY, NOTHING),
        ({**EMPTY, "required": [], "title": "Now"}, {**NOTHING, "required": [], "title": "Now"}),
        ({**EMPTY, "additionalProperties": True}, {**EMPTY, "additionalProperties": True}),
        ({**EMPTY, "additionalProperties": {}}, {**EMPTY, "additionalProperties": {}}),
        ({**EMPTY, "anyOf": [ADD["function"]["parameters"]]}, {**EMPTY, "anyOf": [ADD["function"]["parameters"]]}),
        ({"type": "object"}, {"type": "object"}), (ADD["function"]["parameters"], ADD["function"]["parameters"]),
    ],
)  # fmt: skip
def test_parameters_of_tools(given: Any, expected: Any) -> None:
    function = {"name": "now"} if given == "absent" else {"name": "now", "parameters": given}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": function}],
    }
    (tool,) = read_chat(Fields(body)).tools
    assert tool.parameters == expected and tool.as_template_sees_it()["function"]["parameters"] == expected


@pytest.mark.parametrize("parameters", [[], "x", 3, True])
def test_parameters_that_are_no_schema(parameters: Any) -> None:
    function = {"name": "now", "parameters": parameters}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": function}],
    }
    with pytest.raises(ApiError, match="must be an object"):
        read_chat(Fields(body))


def test_a_tool_without_parameters_gets_none(model: Model) -> None:
    pytest.importorskip("openai")
    with running(model, slots=1, template=TEMPLATE) as server:
        client = server.client()
        for seed in range(4):
            answer = client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "What time is it?"}], temperature=1.5, seed=seed,
                tools=[{"type": "function", "function": {"name": "now"}}], tool_choice="required", max_tokens=60,
            )  # fmt: skip
            (call,) = answer.choices[0].message.tool_calls
            assert (call.function.name, json.loads(call.function.arguments)) == ("now", {})


@pytest.mark.parametrize(
    "value", ["NaN", "-Infinity", "1e400", "1" + "0" * 400, "9" * 5000, '"\\ud800"', "[" * 500 + "]" * 500]
)
def test_arguments_that_no_client_can_read_stay_text(value: str) -> None:
    text = '<tool_call>{"name": "add", "arguments": {"a": ' + value + "}}</tool_call>"
    assert read(text, []) == [text]
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": ' + value + "}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ]
    (told,) = read_chat(Fields({"model": "m", "messages": messages})).messages[1].fields["tool_calls"]
    assert told["function"]["arguments"] == call["function"]["arguments"]


def read(text: str, cuts: list[int]) -> list[str | ToolCall]:
    reader = ToolCallReader()
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    found = [part for a, b in itertools.pairwise(edges) for part in reader.push(text[a:b])]
    return [*found, *reader.finish()]


@given(st.lists(st.integers(0, 160)))
def test_calls_are_found_however_the_text_comes(cuts: list[int]) -> None:
    parts = read(f"Well <b> <tool {CALL}{CALL} end <tool_", cuts)
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("add", {"a": 1})] * 2
    assert len({call.id for call in calls}) == 2
    assert "".join(part for part in parts if isinstance(part, str)) == "Well <b> <tool  end <tool_"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>nonsense</tool_call>",
        '<tool_call>{"name": 3}</tool_call>',
        "<tool_call>[]</tool_call>",
        "<tool_call>{",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert "".join(map(str, read(text, []))) == text
    assert read("<tool_call>" + "[" * 100_000, [])


def test_a_call_without_its_end_counts() -> None:
    (call,) = read(CALL.removesuffix("</tool_call>"), [])
    assert isinstance(call, ToolCall)


def test_the_whole_way(model: Model) -> None:
    openai = pytest.importorskip("openai")
    with running(model, slots=1, template=TEMPLATE) as server:
        client = server.client()
        asked: list[dict[str, Any]] = [{"role": "user", "content": "What is 1 and 2?"}]
        settings: dict[str, Any] = {"model": "demo", "tools": [ADD], "temperature": 1.2, "seed": 4, "max_tokens": 100}
        for choice in ("required", {"type": "function", "function": {"name": "add"}}):
            answer = client.chat.completions.create(messages=asked, tool_choice=choice, **settings)
            assert answer.choices[0].finish_reason == "tool_calls"
            assert answer.choices[0].message.content is None
            (call,) = answer.choices[0].message.tool_calls
            value = json.loads(call.function.arguments)
            assert call.function.name == "add" and 0 <= value["a"] <= 9 and value["b"] in (True, False)
        chunks = list(client.chat.completions.create(messages=asked, tool_choice="required", stream=True, **settings))
        deltas = [c.choices[0].delta for c in chunks]
        (streamed,) = [call for delta in deltas for call in delta.tool_calls or []]
        assert (streamed.index, streamed.function.name) == (0, "add")
        assert json.loads(streamed.function.arguments) == value
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

        history = [
            *asked,
            {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
            {"role": "tool", "tool_call_id": call.id, "content": "3"},
        ]
        free = client.chat.completions.create(messages=history, **settings)
        without = client.chat.completions.create(messages=history, **{**settings, "tools": openai.NOT_GIVEN})
        assert free.usage.prompt_tokens > without.usage.prompt_tokens > 20  # the tools and the call were in the prompt
        none = client.chat.completions.create(messages=history, tool_choice="none", **settings)
        assert none.usage.prompt_tokens == without.usage.prompt_tokens
        unsupported = json.loads(json.dumps(ADD))
        unsupported["function"]["parameters"]["properties"]["a"] = {"type": "string", "pattern": "(?=x)"}
        with pytest.raises(openai.BadRequestError, match="pattern"):
            client.chat.completions.create(
                messages=asked, tool_choice="required", **{**settings, "tools": [unsupported]}
            )


def test_without_llguidance(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not built for the machine, what needs it is refused, and the rest works."""
    openai = pytest.importorskip("openai")
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with running(model, slots=1, template=TEMPLATE) as server:
        client, asked = server.client(), [{"role": "user", "content": "What is 1 and 2?"}]
        settings: dict[str, Any] = {"model": "demo", "messages": asked, "max_tokens": 4}
        assert client.chat.completions.create(tools=[ADD], **settings).choices
        for wanted in ({"response_format": {"type": "json_object"}}, {"tools": [ADD], "tool_choice": "required"}):
            with pytest.raises(openai.BadRequestError, match="llguidance"):
                client.chat.completions.create(**wanted, **settings)
