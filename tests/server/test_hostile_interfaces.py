"""Anything that JSON can say, sent to each API: it is answered, or refused with one line in the form of that API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_tools import Running

httpx = pytest.importorskip("httpx")

MESSAGES = [{"role": "user", "content": "Hello!"}]
SMALL: dict[str, Any] = {
    "model": "demo", "messages": MESSAGES, "prompt": "a", "input": "a", "content": "a", "tokens": [5], "stream": False,
    "query": "a", "documents": ["a"],
    "max_tokens": 2, "max_output_tokens": 2, "n_predict": 2,
}  # fmt: skip
PATHS = [
    "/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/v1/responses", "/v1/messages",
    "/v1/messages/count_tokens", "/rerank", "/tokenize", "/detokenize", "/apply-template", "/completion", "/infill",
]  # fmt: skip
NAMES = [
    "messages", "prompt", "input", "content", "tokens", "tools", "tool_choice", "format", "options", "keep_alive",
    "think", "suffix", "system", "raw", "truncate", "name", "instructions", "text", "thinking", "stop_sequences",
    "output_config", "metadata", "logit_bias", "stop", "top_k", "n_probs", "input_prefix", "input_suffix",
    "input_extra", "query", "documents",
    "logprobs", "top_logprobs", "with_pieces", "add_special", "chat_template_kwargs", "seed", "template", "context",
]  # fmt: skip
WORDS = ["role", "content", "type", "text", "user", "assistant", "tool", "function", "name", "arguments", "id", "input",
         "tool_use", "tool_result", "function_call", "message", "json_schema", "schema", "object", "a"]  # fmt: skip
WORD = st.sampled_from(WORDS)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


def checked(response: Any, path: str) -> None:
    """An answer, or an error in the form of its API: one line, and nothing of how the server is made."""
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code == 200:
        return
    error = response.json()
    if path.startswith("/api/"):
        message = error["error"]
        assert set(error) == {"error"}
    elif path.startswith("/v1/messages"):
        assert set(error) == {"type", "error"} and error["type"] == "error"
        message = error["error"]["message"]
    else:
        message = error["error"]["message"]
    assert message and "\n" not in message and len(message) <= 500 and "Traceback" not in message


@settings(max_examples=25)
@given(fields=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
@pytest.mark.parametrize("path", PATHS)
def test_any_fields(server: Running, path: str, fields: dict[str, Any]) -> None:
    body = {**SMALL, "options": {"num_predict": 2}, **fields}
    if path in ("/api/chat", "/api/generate") and isinstance(body["options"], dict):
        body["options"] = {"num_predict": 2, **body["options"]}
    checked(httpx.post(server.url + path, content=json.dumps(body), timeout=120), path)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": NaN}', b"[" * 200_000, b'{"a":' * 100_000, b'{"model": 3}',
        b'{"n": ' + b"9" * 10_000 + b"}", b'{"temperature": 1e999}', b'{"model": "\\ud800"}', b'"x"', b"\0" * 100,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_request(server: Running, path: str, body: bytes) -> None:
    response = httpx.post(server.url + path, content=body)
    assert response.status_code == 400
    checked(response, path)


@pytest.mark.parametrize("path", PATHS)
def test_unknown_models(server: Running, path: str) -> None:
    response = httpx.post(server.url + path, json={**SMALL, "model": "\x1b[31m" + "x" * 5000})
    assert response.status_code == 404 and b"\x1b" not in response.content
    checked(response, path)


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_too_large(server: Running, path: str) -> None:
    response = httpx.post(server.url + path, content=b'{"model": "' + b"x" * (5 << 20) + b'"}')
    assert response.status_code == 413
    assert "larger" in response.text and "\n" not in response.text
