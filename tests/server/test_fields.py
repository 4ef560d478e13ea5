"""JSON from outside: numbers and texts without bounds, in every place of a request."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_tools import Running, running

from rbe_edge.runtime.model import Model
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.fields import parse_json, parse_object

httpx = pytest.importorskip("httpx")

LARGEST = 2**1024 - 2**970  # that rounds to no finite float64: the least of them is halfway to 2**1024

#: As they stand in JSON; no field may have them.
BAD_NUMBERS = {
    "1e400": "1e400", "-1e400": "-1e400", "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity",
    "10**400": "1" + "0" * 400, "-10**400": "-1" + "0" * 400, "5000 digits": "9" * 5000, "a million": "7" * 1_000_000,
    "2**1024": str(2**1024), "a long decimal": "9" * 400 + ".5",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_numbers_that_are_not_finite(name: str) -> None:
    number = BAD_NUMBERS[name]
    for text in (number, f"[{number}]", f'{{"a": [1, {{"b": {number}}}]}}'):
        with pytest.raises(ValueError) as caught:
            parse_json(text)
        assert len(str(caught.value)) < 100 and "number" in str(caught.value)
    with pytest.raises(ApiError) as refused:
        parse_object(f'{{"c": 1, "field": {{"b": [{number}]}}}}'.encode())
    assert refused.value.param == "field" and refused.value.status == 400 and len(refused.value.message) < 100


@pytest.mark.parametrize("number", [0, -0.0, 1e308, 5e-324, 10**308, -(10**308), 2**63, LARGEST - 1, 0.1])
def test_numbers_that_stay(number: float) -> None:
    found = parse_json(json.dumps(number))
    assert found == number and type(found) is type(number) and math.copysign(1, found) == math.copysign(1, number)


@given(st.integers(1023, 1024), st.integers(-(2**971), 2**971), st.booleans())
def test_whole_numbers_are_refused_where_they_are_no_float(power: int, more: int, negative: bool) -> None:
    number = (2**power + more) * (-1 if negative else 1)
    try:
        float(number)
    except OverflowError:
        with pytest.raises(ValueError, match="too large"):
            parse_json(str(number))
    else:
        assert parse_json(str(number)) == number


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.booleans())
def test_what_json_can_say_is_read(value: Any, escaped: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=escaped)) == value


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":'])
def test_nesting(opening: str) -> None:
    levels = {"[": 1, '{"a":': 1, '[{"b":': 2}[opening]
    closing = {"[": "]", '{"a":': "}", '[{"b":': "}]"}[opening]
    fine, deep = 200 // levels, 202 // levels
    assert parse_json(opening * fine + "0" + closing * fine)
    for count in (deep, 900, 100_000):
        with pytest.raises(ValueError, match="nested"):
            parse_json(opening * count + "0" + closing * count)


@pytest.mark.parametrize("text", ["[" + "[]," * 300_000 + "0]", "[" + '{"":0},' * 300_000 + "0]"])
def test_too_many_parts(text: str) -> None:
    with pytest.raises(ValueError, match="250000"):
        parse_json(text)


@pytest.mark.parametrize("words", ["[" * 400_000, "{" * 400_000, '\\"[' * 300_000, "\\\\" * 300_000 + "[" * 300_000])
def test_brackets_in_a_text_are_no_parts(words: str) -> None:
    assert parse_json(f'["{words}"]') == [json.loads(f'"{words}"')]
    for broken in (f'"{words}', f'"{words}\\', f'{words}"'):  # and what is no JSON takes no time
        with pytest.raises(ValueError):
            parse_json(broken)


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\uDFFF x"', r'{"\udc00": 1}', r'["\ud83d\ud83d"]', r'"\ude00\ud83d"'])
def test_halves_of_surrogate_pairs(text: str) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        parse_json(text)
    with pytest.raises(ApiError, match="UTF-8"):
        parse_object(b'{"a": "' + "\ud800".encode("utf-8", "surrogatepass") + b'"}')


def test_whole_surrogate_pairs() -> None:
    assert parse_json(r'"\ud83d\ude00 \\ud800"') == "\N{GRINNING FACE} \\ud800"


def test_messages_are_one_short_line() -> None:
    error = ApiError(400, "it has\nlines, \x1b[31mcolours and " + "m" * 10_000_000, param="x")
    assert len(error.message) <= 500 and "\n" not in error.message and "\x1b" not in error.message
    assert error.body()["error"]["message"] == error.message  # type: ignore[index]


SCHEMA = '{"type": "json_schema", "json_schema": {"name": "a", "schema": %s}}'
TOOL = '[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": %s}}}}]'

#: Members of a chat with a place for a value.
PLACES = {
    "temperature": "%s", "top_p": "%s", "top_k": "%s", "min_p": "%s", "seed": "%s", "max_tokens": "%s", "n": "%s",
    "max_completion_tokens": "%s", "repeat_penalty": "%s", "presence_penalty": "%s", "top_logprobs": "%s",
    "logit_bias": '{"5": %s}', "stop": "[%s]", "stream": "%s", "stream_options": '{"include_usage": %s}', "user": "%s",
    "metadata": '{"a": [%s]}', "tool_choice": "%s", "model": "%s", "response_format": SCHEMA % '{"minimum": %s}',
    "tools": TOOL % '{"type": "integer", "maximum": %s}', "messages": '[{"role": "user", "content": %s}]',
}  # fmt: skip


@pytest.mark.parametrize("value", ["1e400", "NaN", "1" + "0" * 400, "9" * 5000, '"\\ud800"', "[" * 300 + "]" * 300])
def test_every_field_refuses_what_has_no_bounds(server: Running, value: str) -> None:
    base = {"model": '"demo"', "messages": '[{"role": "user", "content": "x"}]', "max_tokens": "2"}
    for name, form in PLACES.items():
        members = {**base, name: form % value}
        body = "{" + ", ".join(f'"{key}": {text}' for key, text in members.items()) + "}"
        response = httpx.post(server.url + "/v1/chat/completions", content=body.encode(), timeout=60)
        assert response.status_code == 400, (name, response.text)
        error = response.json()["error"]
        assert len(error["message"]) <= 500 and "\n" not in error["message"] and len(response.content) < 1000
        assert error["param"] in (name, None)


@pytest.mark.parametrize("path", ["completions", "embeddings"])
@pytest.mark.parametrize("value", ["1e400", "1" + "0" * 400, "true", "-1", "-0.0", "1.0", "2" * 30])
def test_token_ids(server: Running, path: str, value: str) -> None:
    name = "prompt" if path == "completions" else "input"
    for form in ("[%s]", "[5, %s]", "[[5], [%s]]"):
        body = f'{{"model": "demo", "pooling": "mean", "{name}": {form % value}}}'
        response = httpx.post(f"{server.url}/v1/{path}", content=body.encode())
        assert response.status_code == 400 and response.json()["error"]["param"] == name


@pytest.mark.parametrize("value", ["true", "false", "-0.0", "[]", "{}", '"1"'])
def test_what_is_like_a_number(server: Running, value: str) -> None:
    """-0.0 is one; a truth value is none."""
    base = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "top_k", "seed", "n", "max_tokens"):
        body = json.dumps(base)[:-1] + f', "{name}": {value}}}'
        response = httpx.post(server.url + "/v1/chat/completions", content=body.encode())
        decimal = name in ("temperature", "top_p", "min_p", "presence_penalty")
        assert response.status_code == (200 if decimal and value == "-0.0" else 400), (name, response.text)


def test_megabytes_are_not_sent_back(server: Running, model: Model) -> None:
    """Whatever an error quotes, and it is not in the log."""
    words = "w" * 1_000_000
    chat = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    function = {"type": "function", "function": {"name": "f"}}
    bodies = [
        {**chat, "model": words}, {**chat, "messages": [{"role": words, "content": "x"}]},
        {**chat, "messages": [{"role": "user", "content": [{"type": words}]}]},
        {**chat, "tools": [function], "tool_choice": {"type": "function", "function": {"name": words}}},
        {**chat, "tools": [{"type": "function", "function": {"name": words}}]},
        {**chat, "response_format": {"type": words}},
        {**chat, "response_format": {"type": "json_schema", "json_schema": {"schema": {words: 1, "type": words}}}},
        {**chat, "response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(" + words}}}},
        {**chat, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": words}}}},
        {**chat, "stop": [words]}, {**chat, "temperature": words}, {**chat, "stream_options": words},
    ]  # fmt: skip
    for body in bodies:
        response = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60)
        assert response.status_code in (400, 404) and len(response.content) < 1200, response.text[:200]
    long = '{"model": "demo", ' + f'"{words}": 1e400}}'
    assert len(httpx.post(server.url + "/v1/chat/completions", content=long.encode()).content) < 500
    with running(model, slots=1, template="{{ raise_exception(messages[0].content) }}") as other:
        response = httpx.post(
            other.url + "/v1/chat/completions",
            json={**chat, "messages": [{"role": "user", "content": "w\n" * 100_000}]},
        )
        message = response.json()["error"]["message"]
        assert response.status_code == 400 and len(message) <= 500 and "\n" not in message
