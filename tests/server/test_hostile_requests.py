"""Requests that are wrong, too large, too many or abandoned; keys, origins and metrics."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_tools import CHAT, LONG, Running, running

from rbe_edge.errors import OptionError
from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

POOLED = {"pooling": "mean"}  # the demo is a decoder
MESSAGES = CHAT["messages"]


def post(server: Running, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(
        server.url + path, content=data, headers={"Content-Type": "application/json", **headers}, timeout=60
    )


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and "\n" not in error["message"]
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": NaN}', b"[" * 200_000, b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 10_000 + b"}", b'{"temperature": 1e999}', b'{"model": "\\ud800"}', b'"x"', b"\0" * 100,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_what_is_no_json_object(server: Running, body: bytes, path: str) -> None:
    error_of(post(server, body, path), 400)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 3}, "model"), ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages"), ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"), ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"), ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"), ({"max_tokens": 10**30}, "max_tokens"), ({"seed": "x"}, "seed"),
        ({"seed": 2**80}, "seed"), ({"n": 33}, "n"), ({"n": 0}, "n"), ({"n": True}, "n"),
        ({"stop": 3}, "stop"), ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 99}, "stop"), ({"stop": "a\0b"}, "stop"), ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"), ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"), ({"logit_bias": {"x": 5}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"), ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": [[1]]}, "logit_bias"), ({"logit_bias": [[1, True]]}, "logit_bias"),
        ({"n_probs": 21}, "n_probs"),
        ({"logit_bias": 7}, "logit_bias"), ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"chat_template_kwargs": 3}, "chat_template_kwargs"), ({"repeat_last_n": -2}, "repeat_last_n"),
        ({"presence_penalty": 3}, "presence_penalty"), ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"), ({"min_p": 1}, "min_p"),
        ({"repeat_penalty": 0}, "repeat_penalty"), ({"top_k": -2}, "top_k"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a"}}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "x"}]}, "tools[0].type"), ({"tool_choice": "required"}, "tool_choice"),
    ],
)  # fmt: skip
def test_wrong_fields(server: Running, change: dict[str, Any], param: str) -> None:
    error = error_of(post(server, {**CHAT, **change}), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "messages", "prompt", "input", "tools", "tool_choice", "response_format", "stop", "stream_options", "temperature",
    "logprobs", "top_logprobs", "seed", "n", "encoding_format", "top_k", "min_p", "pooling", "dimensions", "query",
    "documents", "top_n", "truncate", "prompt_name",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4),
    st.sampled_from(["chat/completions", "completions", "embeddings", "rerank"]),
)
def test_anything_is_answered_or_refused(server: Running, fields: dict[str, Any], path: str) -> None:
    texts = {"prompt": "a", "input": "a", "query": "a", "documents": ["a"], "pooling": "mean"}
    body = {"model": "demo", "max_tokens": 2, "messages": MESSAGES, **texts, **fields}
    response = post(server, body, f"/v1/{path}")
    assert response.status_code in (200, 400), response.text


def test_paths_methods_and_names(server: Running) -> None:
    assert error_of(post(server, {**CHAT, "model": "gpt-4"}), 404)["code"] == "model_not_found"
    assert "/v1/chat/completions" in error_of(httpx.get(server.url + "/chat/completions"), 404)["message"]
    wrong_method = httpx.get(server.url + "/v1/chat/completions")
    error_of(wrong_method, 405)
    assert wrong_method.headers["Allow"] == "POST"
    assert httpx.get(server.url + "/health").json() == {"status": "ok"}


def test_prompts_that_do_not_fit(server: Running) -> None:
    for count in (3_000, 700_000):
        long = [{"role": "user", "content": "word " * count}]
        error = error_of(post(server, {**CHAT, "messages": long}), 400)
        assert error["code"] == "context_length_exceeded"
    assert error_of(post(server, {"model": "demo", "prompt": [5] * 1025}, "/v1/completions"), 400)["param"] == "prompt"
    error_of(post(server, {"model": "demo", "prompt": [5_000_000]}, "/v1/completions"), 400)
    error = error_of(post(server, {"model": "demo", "input": "word " * 3000, **POOLED}, "/v1/embeddings"), 400)
    assert error["code"] == "context_length_exceeded" and "at most 1024" in error["message"]


def test_a_prompt_that_fills_the_context(server: Running) -> None:
    full = post(server, {"model": "demo", "prompt": [50] * 1024, "temperature": 0}, "/v1/completions").json()
    assert full["usage"]["completion_tokens"] <= 1
    assert full["usage"]["prompt_tokens"] == 1024


def test_a_large_body(server: Running, model: Model) -> None:
    from rbe_edge.server.bodies import BodyLimits

    big = b'{"model": "' + b"x" * (10 << 20) + b'"}'
    assert "larger" in error_of(post(server, big), 413)["message"]
    with running(model, {"bodies": BodyLimits(largest=2000)}, slots=1) as small:
        assert post(small, CHAT).status_code == 200
        error_of(post(small, {**CHAT, "user": "x" * 2000}), 413)


def test_control_characters_stay_escaped(server: Running) -> None:
    body = {**CHAT, "messages": [{"role": "user", "content": "\x1b]0;x\x07 \x00"}], "model": "\x1b[31m"}
    assert b"\x1b" not in post(server, body).content


def test_a_limit_of_tokens(model: Model) -> None:
    with running(model, slots=1, max_tokens=5) as server:
        clamped = post(server, {**CHAT, "max_tokens": 6})
        assert clamped.headers["X-Max-Tokens-Clamped"] == "5" and clamped.json()["usage"]["completion_tokens"] <= 5
        assert "X-Max-Tokens-Clamped" not in post(server, {**CHAT, "max_tokens": 5}).headers
        assert post(server, {"model": "demo", "messages": MESSAGES}).json()["usage"]["completion_tokens"] <= 5


def test_a_key_is_needed(model: Model) -> None:
    with running(model, {"api_key": "secret-1"}, slots=1) as server:
        for headers in (
            {},
            {"Authorization": "Bearer secret-2"},
            {"Authorization": "Basic secret-1"},
            {"Authorization": ""},
        ):
            assert error_of(post(server, CHAT, **headers), 401)["code"] == "invalid_api_key"
            error_of(httpx.get(server.url + "/v1/models", headers=headers), 401)
            error_of(httpx.get(server.url + "/metrics", headers=headers), 401)
        raw = httpx.get(server.url + "/v1/models", headers=[(b"Authorization", b"Bearer \xff\xe9")])
        error_of(raw, 401)
        assert httpx.get(server.url + "/health").status_code == 200
        assert server.client("secret-1").models.list().data[0].id == "demo"
        with pytest.raises(openai.AuthenticationError):
            server.client("secret-2").models.list()


def test_web_pages_need_leave(server: Running, model: Model) -> None:
    error_of(post(server, CHAT, Origin="https://example.org"), 403)
    error_of(httpx.get(server.url + "/v1/models", headers={"Host": "example.org"}), 403)
    error_of(httpx.get(server.url + "/v1/models", headers={"Host": "[::1"}), 403)
    assert "access-control-allow-origin" not in post(server, CHAT).headers
    with running(model, {"cors_origins": ("https://example.org",)}, slots=1) as open_server:
        found = post(open_server, CHAT, Origin="https://example.org")
        assert found.status_code == 200
        assert found.headers["access-control-allow-origin"] == "https://example.org"
        error_of(post(open_server, CHAT, Origin="https://example.com"), 403)


def test_where_it_may_listen() -> None:
    from rbe_edge.server.serve import Place

    for host in ("0.0.0.0", "192.168.1.5", "::", "my-host"):
        with pytest.raises(OptionError, match="api-key"):
            Place(host).check_key(None)
        Place(host).check_key("key")
    for host in ("127.0.0.1", "::1", "localhost"):
        Place(host).check_key(None)
    for key in ("", "  ", "a\nb", "é"):
        with pytest.raises(OptionError, match="key"):
            Place().check_key(key)
    with pytest.raises(OptionError, match="port"):
        Place(port=70_000)


def test_a_full_queue(model: Model) -> None:
    with running(model, slots=1, queue_limit=1) as server, ThreadPoolExecutor(2) as executor:
        client = server.client()
        long = client.chat.completions.create(model="demo", messages=MESSAGES, stream=True, **LONG)
        next(iter(long))
        waiting = executor.submit(server.client().chat.completions.create, **CHAT)
        server.wait_for(lambda: server.metric("rbe_slots_busy") == 1 and len(server.service.scheduler._waiting) == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**CHAT)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        long.close()
        assert waiting.result().choices[0].finish_reason  # it was served as soon as the slot was free


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(model: Model, stream: bool) -> None:
    with running(model, slots=1, queue_limit=0) as server:
        body = json.dumps({"model": "demo", "messages": MESSAGES, "stream": stream, **LONG}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + body)
            server.wait_for(lambda: server.metric("rbe_generated_tokens_total") > 3)
        server.wait_for(lambda: server.metric("rbe_slots_busy") == 0)
        assert server.metric("rbe_cancelled_total") == 1
        assert server.metric("rbe_generated_tokens_total") < 700
        assert post(server, CHAT).status_code == 200


def test_a_client_of_many_choices_goes_away_and_takes_turns(model: Model) -> None:
    """Another client is served while they are written, though they came first; all are gone with their client."""
    with running(model, slots=2, queue_limit=1) as server:
        client = server.client()
        many = client.chat.completions.create(model="demo", messages=MESSAGES, stream=True, n=8, **LONG)
        chunks = iter(many)
        while next(chunks).choices[0].delta.role:
            pass
        server.wait_for(lambda: server.metric("rbe_slots_busy") == 2)
        waiting = server.service.scheduler._waiting
        assert len(waiting) == 6  # one request, so that the queue is full
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**CHAT)
        many.close()
        server.wait_for(lambda: server.metric("rbe_slots_busy") == 0)
        assert post(server, CHAT).status_code == 200 and not server.service.scheduler._waiting


def test_half_a_request_holds_nothing(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert post(server, CHAT).status_code == 200


def test_metrics(server: Running) -> None:
    """As Prometheus' own parser reads them."""
    parser = pytest.importorskip("prometheus_client.parser")
    assert post(server, CHAT).status_code == 200
    response = httpx.get(server.url + "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in parser.text_string_to_metric_families(response.text)}
    kinds = {"counter": 5, "gauge": 7, "histogram": 3}
    assert {kind: sum(family.type == kind for family in families.values()) for kind in kinds} == kinds
    assert all(family.documentation for family in families.values())
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["rbe_requests_total", "/v1/chat/completions", "200"] >= 1
    assert values["rbe_generated_tokens_total",] >= 4
    assert values["process_resident_memory_bytes",] > 1e7
    assert values["rbe_slots",] == 3
    assert ("rbe_tokens_per_second",) in values and ("rbe_queue_length",) in values
    for name in ("rbe_request_seconds", "rbe_first_token_seconds", "rbe_queue_seconds"):
        buckets = [sample for sample in families[name].samples if sample.name.endswith("_bucket")]
        counts = [sample.value for sample in buckets]
        assert [float(sample.labels["le"]) for sample in buckets] == sorted(float(s.labels["le"]) for s in buckets)
        assert counts == sorted(counts) and counts[-1] == values[f"{name}_count",] > 0 and values[f"{name}_sum",] > 0


def test_counters_stay_exact() -> None:
    from rbe_edge.server.metrics import Metrics

    metrics = Metrics()
    metrics.count("rbe_requests_total", 12_345_678, path="/v1/models", status="200")
    metrics.count("rbe_prompt_tokens_total", 123_456_789)
    assert 'rbe_requests_total{path="/v1/models",status="200"} 12345678\n' in metrics.text()
    assert "rbe_prompt_tokens_total 123456789\n" in metrics.text()


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_hostile_patterns(server: Running, path: str) -> None:
    for pattern in (
        "(a|b)*a(a|b){900}",
        "(((a{1,999}){1,999}){1,999}){1,999}",
        "(a?){999}" * 50,
        "(" * 900,
        "a" * 10**6,
    ):
        wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": pattern}}}
        response = post(server, {**CHAT, "prompt": "a", "response_format": wanted}, f"/v1/{path}")
        if path.startswith("chat") and len(pattern) < 900:  # followed as far as the tokens go
            assert response.status_code == 200
        else:
            named = "pattern" if path.startswith("chat") else "response_format"  # which completions do not have
            assert named in error_of(response, 400)["message"]


def test_hostile_schemas(server: Running) -> None:
    deep: Any = {}
    for _ in range(150):
        deep = {"type": "array", "items": deep}
    chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(3000)}
    schemas = [
        deep,
        {"$ref": "#/$defs/d0", "$defs": {**chain, "d3000": {"type": "null"}}},
        {"type": "integer", "minimum": 10**400},
        {"type": "object", "properties": {f"p{i}": {} for i in range(20_000)}},
        {"type": "object", "properties": {f"p{i}": {} for i in range(400)}, "minProperties": 7},
        {"$ref": "http://127.0.0.1/x.json"},
        {"type": "string", "not": {"minLength": 3}},
    ]
    for schema in schemas:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        assert "\n" not in error_of(post(server, {**CHAT, "response_format": wanted}), 400)["message"]
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        error = error_of(post(server, {**CHAT, "tools": [tool], "tool_choice": "required"}), 400)
        assert error["param"] == "tools", schema


@pytest.mark.parametrize("kind", ["whole", "stream", "embeddings"])
def test_answers_that_outlast_a_stop_say_so(model: Model, kind: str) -> None:
    """The server gives answers a time; those that go on then end with an error that says why."""
    with running(model, stop_seconds=0, slots=1) as server, ThreadPoolExecutor(1) as executor:
        if kind == "embeddings":
            body = {"model": "demo", "input": ["a text of some words" * 20] * 2000, **POOLED}
        else:
            body = {"model": "demo", "messages": MESSAGES, "stream": kind == "stream", "n": 8, **LONG}
        path = "/v1/embeddings" if kind == "embeddings" else "/v1/chat/completions"
        waiting = executor.submit(post, server, body, path)
        metric = "rbe_generated_tokens_total"
        server.wait_for(lambda: server.service.texts.waiting > 0 or server.metric(metric) > 3)
        server.server.should_exit = True
        response = waiting.result()
    if kind == "stream":
        error = json.loads(response.text.split("data: ")[-1])["error"]
        assert "stopping" in error["message"] and "[DONE]" not in response.text
    else:
        assert "stopping" in error_of(response, 503)["message"]


def test_stopping_refuses_and_ends(model: Model) -> None:
    with running(model, slots=1) as server:
        stream = server.client().chat.completions.create(model="demo", messages=MESSAGES, stream=True, **LONG)
        next(iter(stream))
        began = time.monotonic()
        server.service.close()
        assert time.monotonic() - began < 20
        with pytest.raises(openai.APIError):
            list(stream)
        error_of(post(server, CHAT), 503)
        assert httpx.get(server.url + "/health").status_code == 503
