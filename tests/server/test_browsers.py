"""Web pages: what browsers ask before a request (CORS), and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from server_tools import CHAT, Running, one_answer, request, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

PAGE = "http://localhost:5174"

#: What OpenAI's JavaScript client sends, with its helpers.
OPENAI_HEADERS = (
    "authorization,content-type,openai-beta,openai-organization,x-stainless-arch,x-stainless-helper-method,"
    "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout"
)


@pytest.fixture(scope="module")
def open_server(model: Model) -> Iterator[Running]:
    with running(model, {"cors_origins": (PAGE + "/", "null"), "api_key": "k"}, slots=1) as server:
        yield server


def preflight(server: Running, headers: str = "", origin: str = PAGE, method: str = "POST", **more: str) -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return httpx.options(server.url + "/v1/chat/completions", headers=asked)


def told(response: Any) -> dict[str, str]:
    """What is said about access, by name without its beginning."""
    begin = "access-control-"
    return {name[len(begin) :]: value for name, value in response.headers.items() if name.startswith(begin)}


@pytest.mark.parametrize("headers", ["", "content-type", OPENAI_HEADERS, "X-Of-Tomorrow", "a, b ,c"])
@pytest.mark.parametrize("origin", [PAGE, "null"])
def test_allowed_pages_may_send_what_they_ask_for(open_server: Running, headers: str, origin: str) -> None:
    response = preflight(open_server, headers, origin)
    said = told(response)
    assert response.status_code == 200 and said["allow-origin"] == origin
    assert {"GET", "POST"} == set(said["allow-methods"].split(", ")) and int(said["max-age"]) >= 600
    names = [name.strip() for name in headers.split(",")] if headers else []
    assert said.get("allow-headers", "").split(", ") == (names or [""])
    assert "allow-private-network" not in said
    assert "Origin" in response.headers["vary"]


def test_headers_that_have_no_name_are_not_allowed(open_server: Running) -> None:
    said = told(preflight(open_server, 'x-good, x bad, "x", <script>, x:y, , x-fine'))
    assert said["allow-headers"] == "x-good, x-fine"


def test_a_public_page_may_reach_a_private_network(open_server: Running) -> None:
    asked = {"Access-Control-Request-Private-Network": "true"}
    assert told(preflight(open_server, "content-type", **asked))["allow-private-network"] == "true"
    assert told(preflight(open_server, origin="https://example.org", **asked)) == {}


@pytest.mark.parametrize("origin", ["https://example.org", PAGE + "0", PAGE.upper(), "http://localhost", ""])
def test_other_pages_are_told_nothing(open_server: Running, server: Running, origin: str) -> None:
    for one in (open_server, server):
        response = preflight(one, OPENAI_HEADERS, origin)
        assert response.status_code >= 400 and told(response) == {}
        response = httpx.post(
            one.url + "/v1/chat/completions", json=CHAT, headers={"Origin": origin, "Authorization": "Bearer k"}
        )
        assert response.status_code == 403 and told(response) == {}


def test_errors_can_be_read_by_the_page(open_server: Running) -> None:
    """A browser shows a page an answer only where it says who may read it."""
    key = {"Origin": PAGE, "Authorization": "Bearer k"}
    url = open_server.url
    answers = {
        200: httpx.post(url + "/v1/chat/completions", json=CHAT, headers=key),
        401: httpx.post(url + "/v1/chat/completions", json=CHAT, headers={"Origin": PAGE}),
        400: httpx.post(url + "/v1/chat/completions", content=b"{", headers=key),
        404: httpx.get(url + "/v2", headers=key),
        405: httpx.get(url + "/v1/chat/completions", headers=key),
        413: httpx.post(url + "/v1/completions", content=b"x" * (5 << 20), headers=key),
    }
    for status, response in answers.items():
        assert response.status_code == status and told(response)["allow-origin"] == PAGE
        assert "Retry-After" in told(response)["expose-headers"] and "Origin" in response.headers["vary"]


def test_failures_can_be_read_by_the_page(open_server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("WORDS")

    monkeypatch.setattr("rbe_edge.server.shelf.Shelf.described", fail)
    monkeypatch.setattr(open_server.service, "chat_jobs", fail)
    monkeypatch.setattr(open_server.service.metrics, "text", fail)
    key = {"Origin": PAGE, "Authorization": "Bearer k"}
    responses = [httpx.get(open_server.url + path, headers=key) for path in ("/v1/models/demo", "/metrics")]
    responses.append(httpx.post(open_server.url + "/v1/chat/completions", json=CHAT, headers=key))
    for response in responses:
        assert response.status_code == 500 and told(response)["allow-origin"] == PAGE
        assert "log" in response.json()["error"]["message"] and "WORDS" not in response.text


def test_a_stream_can_be_read_by_the_page(open_server: Running) -> None:
    with open_server.connect() as client:
        client.sendall(request({**CHAT, "stream": True}, Origin=PAGE, Authorization="Bearer k"))
        assert client.recv(4096).lower().find(b"access-control-allow-origin: " + PAGE.encode()) > 0


def test_all_pages(model: Model) -> None:
    with running(model, {"cors_origins": ("*",)}, slots=1) as server:
        said = told(preflight(server, OPENAI_HEADERS, "https://example.org"))
        assert said["allow-origin"] == "*" and said["allow-headers"].split(", ") == OPENAI_HEADERS.split(",")
        with server.connect() as client:  # other programs go on as before
            client.sendall(request(CHAT))
            assert one_answer(client)[0] == 200
