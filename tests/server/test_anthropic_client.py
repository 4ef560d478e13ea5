"""Anthropic's messages through its official client, and as they go over the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from server_tools import Running, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
anthropic = pytest.importorskip("anthropic")

HELLO = [{"role": "user", "content": "Hello!"}]
ADD = {
    "name": "add",
    "description": "Adds two numbers",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
    },
}
# The client itself takes no temperature any more; what is in extra_body goes into the request.
SETTINGS: dict[str, Any] = {"model": "demo", "max_tokens": 40, "extra_body": {"temperature": 0}}
BODY: dict[str, Any] = {"model": "demo", "max_tokens": 40, "temperature": 0}


def connected(server: Running, key: str = "any") -> Any:
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def client(server: Running) -> Any:
    return connected(server)


def test_a_message_is_what_the_library_says(client: Any, model: Model) -> None:
    message = client.messages.create(messages=HELLO, **SETTINGS)
    (block,) = message.content
    assert block.type == "text" and block.text.strip() == model.chat(HELLO, max_tokens=40)
    assert (message.role, message.type, message.model) == ("assistant", "message", "demo")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == model.count_tokens(HELLO) and usage.output_tokens > 0


def test_system_and_blocks(client: Any, model: Model) -> None:
    whole = [{"role": "system", "content": "You are brief."}, *HELLO]
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]}]
    for system in ("You are brief.", [{"type": "text", "text": "You are brief."}]):
        found = client.messages.count_tokens(model="demo", system=system, messages=parts)
        assert found.input_tokens == model.count_tokens(whole)


def test_stops(client: Any) -> None:
    cut = client.messages.create(messages=HELLO, **{**SETTINGS, "max_tokens": 3})
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 3
    text = client.messages.create(messages=HELLO, **SETTINGS).content[0].text
    stops = ["never said", text[6:9], text[6:8]]
    stopped = client.messages.create(messages=HELLO, stop_sequences=stops, **SETTINGS)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", text[6:9])
    assert stopped.content[0].text == text[: text.index(text[6:8])]


def test_streams(client: Any) -> None:
    whole = client.messages.create(messages=HELLO, **SETTINGS)
    with client.messages.stream(messages=HELLO, **SETTINGS) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert final.content[0].text == whole.content[0].text and final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_start" in kinds


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "add"}])
def test_calls(client: Any, choice: dict[str, str]) -> None:
    """The demo's template has no place for tools, so they are said in words; the call is one all the same."""
    settings = {
        **SETTINGS,
        "max_tokens": 120,
        "extra_body": {"temperature": 1.0, "seed": 1},
        "tools": [ADD],
        "tool_choice": choice,
    }
    message = client.messages.create(messages=HELLO, **settings)
    (call,) = message.content
    assert (call.type, call.name, message.stop_reason) == ("tool_use", "add", "tool_use")
    assert set(call.input) == {"a", "b"} and 0 <= call.input["a"] <= 9
    with client.messages.stream(messages=HELLO, **settings) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].type == "tool_use" and set(streamed.content[0].input) == {"a", "b"}
    assert streamed.stop_reason == "tool_use"
    history = [
        *HELLO,
        {"role": "assistant", "content": [block.model_dump() for block in message.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "3"}]},
    ]
    assert client.messages.create(messages=history, **{**SETTINGS, "tools": [ADD]}).content is not None
    counted = client.messages.count_tokens(model="demo", messages=history).input_tokens
    assert counted > client.messages.count_tokens(model="demo", messages=HELLO).input_tokens + 20


def test_thoughts(model: Model) -> None:
    from test_ollama_client import THINKING

    with running(model, slots=1, template=THINKING) as server:
        message = connected(server).messages.create(
            messages=HELLO, thinking={"type": "enabled", "budget_tokens": 1024}, **SETTINGS
        )
        assert message.content[0].type == "thinking" and message.content[0].thinking


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": None}, {"max_tokens": 0}, {"messages": []}, {"messages": "x"}, {"messages": [{"role": "tool"}]},
        {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_use", "name": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
        {"messages": [{"role": "user", "content": [4]}]}, {"system": 4}, {"system": [{"type": "image"}]},
        {"stop_sequences": 4}, {"tools": [{}]}, {"tools": [{"name": "a b"}]},
        {"tools": [{"type": "web_search", "name": "x"}]}, {"output_config": {"format": {"type": "xml"}}},
        {"tool_choice": {"type": "any"}}, {"tools": [ADD], "tool_choice": {"type": "tool", "name": "sub"}},
        {"tools": [ADD], "tool_choice": {"type": 5}}, {"thinking": {"type": "much"}},
        {"stream": 3}, {"temperature": []},
    ],
)  # fmt: skip
def test_wrong_fields(server: Running, change: dict[str, Any]) -> None:
    body = {"messages": HELLO, **BODY, **change}
    response = httpx.post(server.url + "/v1/messages", json=body)
    assert response.status_code == 400, response.text
    error = response.json()
    assert error["type"] == "error" and error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"] and "\n" not in error["error"]["message"]


def test_errors_by_their_kind(server: Running, model: Model) -> None:
    client = connected(server)
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        client.messages.create(messages=HELLO, **{**SETTINGS, "model": "claude"})
    with pytest.raises(anthropic.BadRequestError, match="context"):
        client.messages.create(messages=[{"role": "user", "content": "word " * 3000}], **SETTINGS)
    for body in (b"", b"[]", b'{"a":' * 100_000):
        assert httpx.post(server.url + "/v1/messages", content=body).json()["type"] == "error"
    assert httpx.get(server.url + "/v1/messages").json()["type"] == "error"
    with running(model, {"api_key": "secret"}, slots=1) as locked:
        assert connected(locked, "secret").messages.create(messages=HELLO, **SETTINGS).content
        with pytest.raises(anthropic.AuthenticationError):
            connected(locked, "other").messages.create(messages=HELLO, **SETTINGS)


def test_the_events_of_a_call(server: Running) -> None:
    """Each is JSON of its kind, in the order that the API promises."""
    asked = {
        **BODY,
        "messages": HELLO,
        "stream": True,
        "tools": [ADD],
        "tool_choice": {"type": "any"},
        "max_tokens": 120,
    }
    response = httpx.post(server.url + "/v1/messages", json=asked, timeout=60)
    events = [block.split("\n") for block in response.text.strip().split("\n\n")]
    kinds = [name.removeprefix("event: ") for name, _ in events]
    assert kinds == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert [json.loads(data.removeprefix("data: "))["type"] for _, data in events] == kinds


def test_formats(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(messages=HELLO, output_config=wanted, **SETTINGS)
    assert json.loads(message.content[0].text)["a"] in (1, 2)
