"""OpenAI's responses through the official client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from server_tools import Running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

HELLO = [{"role": "user", "content": "Hello!"}]
SETTINGS: dict[str, Any] = {"model": "demo", "max_output_tokens": 40, "temperature": 0}
ADD = {
    "type": "function",
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
    },
}


def test_a_response_is_what_the_library_says(client: Any, model: Model) -> None:
    for given in ("Hello!", HELLO, [{"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}]):
        response = client.responses.create(input=given, **SETTINGS)
        assert response.output_text.strip() == model.chat(HELLO, max_tokens=40)
        assert (response.status, response.object, response.model) == ("completed", "response", "demo")
        assert response.usage.input_tokens == model.count_tokens(HELLO)
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    briefly = client.responses.create(input="Hello!", instructions="You are brief.", **SETTINGS)
    whole = [{"role": "system", "content": "You are brief."}, *HELLO]
    assert briefly.usage.input_tokens == model.count_tokens(whole) and briefly.instructions == "You are brief."


def test_what_is_cut_is_incomplete(client: Any) -> None:
    response = client.responses.create(input="Hello!", **{**SETTINGS, "max_output_tokens": 3})
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete" and response.usage.output_tokens == 3


def test_streams(client: Any) -> None:
    whole = client.responses.create(input="Hello!", **SETTINGS)
    events = list(client.responses.create(input="Hello!", stream=True, **SETTINGS))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text == events[-1].response.output_text
    with client.responses.stream(input="Hello!", **SETTINGS) as stream:
        assert stream.get_final_response().output_text == whole.output_text


def test_calls(client: Any) -> None:
    settings = {**SETTINGS, "tools": [ADD], "temperature": 1.0, "max_output_tokens": 120, "extra_body": {"seed": 2}}
    for choice in ("required", {"type": "function", "name": "add"}):
        response = client.responses.create(input="Hello!", tool_choice=choice, **settings)
        (call,) = response.output
        assert (call.type, call.name) == ("function_call", "add") and set(json.loads(call.arguments)) == {"a", "b"}
    with client.responses.stream(input="Hello!", tool_choice="required", **settings) as stream:
        (streamed,) = stream.get_final_response().output
    assert streamed.type == "function_call" and set(json.loads(streamed.arguments)) == {"a", "b"}
    history = [
        *HELLO,
        {"type": "reasoning", "summary": []},
        call.model_dump(exclude={"status"}),
        {"type": "function_call_output", "call_id": call.call_id, "output": "3"},
    ]
    again = client.responses.create(input=history, **{**SETTINGS, "tools": [ADD]})
    assert again.usage.input_tokens > response.usage.input_tokens + 10


def test_formats(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    wanted = {"format": {"type": "json_schema", "name": "one", "schema": schema}}
    found = client.responses.create(
        input="JSON", text=wanted, extra_body={"seed": 1}, **{**SETTINGS, "temperature": 1.2}
    )
    assert json.loads(found.output_text)["a"] in (1, 2)
    anything = client.responses.create(input="JSON", text={"format": {"type": "json_object"}}, **SETTINGS)
    assert isinstance(json.loads(anything.output_text), dict)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": None}, "input"), ({"input": []}, "input"), ({"input": ""}, "input"), ({"input": 4}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": {}}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "arguments": "{}"}]}, "input[0].name"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True}, "background"),
        ({"conversation": "c"}, "conversation"), ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [ADD], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"text": 4}, "text"), ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.json_schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {"pattern": "(a"}}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"), ({"stream": 1}, "stream"),
    ],
)  # fmt: skip
def test_wrong_fields(server: Running, change: dict[str, Any], param: str) -> None:
    response = httpx.post(server.url + "/v1/responses", json={"input": "Hello!", **SETTINGS, **change})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
