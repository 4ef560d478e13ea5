"""Bodies that come slowly, not at all, or too many at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from server_tools import CHAT, Running, everything, one_answer, request, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")


def limited(model: Model, **limits: Any) -> Any:
    from rbe_edge.server.bodies import BodyLimits

    return running(model, {"bodies": BodyLimits(**limits)}, slots=1)


def held(server: Running) -> int:
    return server.server.config.app.state.bodies.held  # type: ignore[no-any-return]


def chat_of(size: int) -> bytes:
    """A request whose body has so many bytes."""
    body = json.dumps({**CHAT, "user": ""}).encode()
    return body.replace(b'"user": ""', b'"user": "' + b"x" * (size - len(body)) + b'"')


def test_a_slow_body_is_read(model: Model) -> None:
    """As long as it keeps to the rate, for longer than any silence or grace."""
    with limited(model, silence=1.0, grace=1.0, rate=100.0) as server, server.connect() as client:
        body = chat_of(1000)
        client.sendall(request(b"", length=len(body)))
        for at in range(0, len(body), 50):
            client.sendall(body[at : at + 50])
            time.sleep(0.1)
        assert one_answer(client)[0] == 200
        assert held(server) == 0


@pytest.mark.parametrize("piece", [b"", b" "])
def test_a_body_must_come_in_time(model: Model, piece: bytes) -> None:
    """Neither silence nor bytes far below the rate hold a connection."""
    with limited(model, silence=1.0, grace=1.0, rate=1000.0) as server, server.connect() as client:
        client.sendall(request(b"{", length=100_000))
        server.wait_for(lambda: held(server) > 0)
        for _ in range(8):
            client.sendall(piece)
            time.sleep(0.2)
        status, body = one_answer(client)
        assert status == 408 and "in time" in json.loads(body)["error"]["message"]
        assert held(server) == 0


def test_bodies_together_are_bounded(model: Model) -> None:
    """Those that have been silent longest give way. A whole one is served meanwhile, and memory is given back."""
    with limited(model, largest=100_000, together=250_000) as server:
        clients = []
        for _ in range(8):
            clients.append(server.connect())
            clients[-1].sendall(request(b"x" * 90_000, length=100_000))
        assert httpx.post(server.url + "/v1/chat/completions", content=chat_of(90_000), timeout=30).status_code == 200
        assert held(server) <= 250_000 + 90_000
        refused = 0
        for client in clients:
            client.settimeout(1.5)
            try:
                status, body = one_answer(client)
            except TimeoutError:
                continue
            refused += 1
            assert status == 503 and "at once" in json.loads(body)["error"]["message"]
        assert refused >= 5
        for client in clients:
            client.close()
        server.wait_for(lambda: held(server) == 0)


def test_many_whole_bodies_are_read_in_turn(model: Model) -> None:
    """More of them than there is room for: clients wait while they send, and none is refused."""
    with limited(model, largest=100_000, together=200_000) as server, ThreadPoolExecutor(12) as executor:
        url = server.url + "/v1/embeddings"
        body = json.dumps({"model": "demo", "input": "a", "pooling": "mean", "user": "x" * 99_000}).encode()

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(body), 33_000):
                yield body[at : at + 33_000]
                time.sleep(0.02)

        def post(index: int) -> int:
            content = body if index % 2 else pieces()
            return httpx.post(url, content=content, timeout=60).status_code  # type: ignore[no-any-return]

        assert list(executor.map(post, range(30))) == [200] * 30


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(model: Model, chunked: bool) -> None:
    with limited(model, largest=100_000) as server, server.connect() as client:
        if chunked:
            head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(
                head + b"c350\r\n" + b"x" * 50_000 + b"\r\n" + b"c351\r\n" + b"x" * 50_001 + b"\r\n0\r\n\r\n"
            )
        else:
            client.sendall(request(b"x" * 100_001))
        status, body = one_answer(client)
        assert status == 413 and "100000 bytes" in json.loads(body)["error"]["message"]
        client.sendall(request(chat_of(100_000)))  # the rest was read; the connection goes on
        assert one_answer(client)[0] == 200


@pytest.mark.parametrize(("key", "first"), [("k", b"HTTP/1.1 100 Continue\r\n\r\n"), ("wrong", b"HTTP/1.1 401 ")])
def test_a_client_that_waits_for_leave_to_send(model: Model, key: str, first: bytes) -> None:
    with running(model, {"api_key": "k"}, slots=1) as server, server.connect() as client:
        body = json.dumps(CHAT).encode()
        client.sendall(request(b"", length=len(body), Authorization=f"Bearer {key}", Expect="100-continue"))
        assert client.recv(len(first)) == first
        if key == "k":
            client.sendall(body)
            status, answer = one_answer(client)
            assert status == 200 and b"chat.completion" in answer


def test_unfinished_bodies_do_not_delay_the_end(model: Model) -> None:
    with running(model, slots=1) as server, server.connect() as client, server.connect() as half:
        client.sendall(request(b'{"model', length=1000))
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: loc")
        server.wait_for(lambda: held(server) > 0)
        began = time.monotonic()
        server.server.should_exit = True
        assert everything(client).startswith(b"HTTP/1.1 503 ")
        assert everything(half) == b""
        assert time.monotonic() - began < 4  # of the 5 seconds that answers get
