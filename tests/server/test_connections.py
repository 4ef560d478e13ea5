"""Connections whose clients take their time, are too many, or break HTTP."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any

import pytest
from server_tools import CHAT, LONG, Running, everything, one_answer, request, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

HALF = b"GET /health HTTP/1.1\r\nHost: "
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def limits(**changed: Any) -> Any:
    from rbe_edge.server.connections import ConnectionLimits

    return ConnectionLimits(**changed)


def open_connections(server: Running) -> int:
    return len(server.server.server_state.connections)


def test_pieces_of_answers_are_not_held_back(model: Model) -> None:
    """By Nagle's algorithm, which waits 40 ms for an acknowledgement."""
    with running(model, slots=1) as server, server.connect():
        server.wait_for(lambda: open_connections(server) == 1)
        (connection,) = server.server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_headers_must_come_in_time(model: Model) -> None:
    with running(model, limits=limits(headers=0.5), slots=1) as server:
        with server.connect() as half, server.connect() as silent, server.connect() as trickling:
            half.sendall(HALF)
            for _ in range(40):  # bytes that keep coming do not make it longer
                try:
                    trickling.sendall(b"G")
                except OSError:
                    break
                time.sleep(0.1)
            else:
                pytest.fail("it was not closed")
            said = everything(half)
            assert said.startswith(b"HTTP/1.1 408 ") and b"in time" in said
            assert everything(silent) == b""
        server.wait_for(lambda: open_connections(server) == 0)


def test_idle_connections_are_kept_for_those_who_may_use_the_server(model: Model) -> None:
    """Who has only asked for /health is a stranger; who asks for it later is none. A connection that was idle takes the
    next request."""
    with running(model, {"api_key": "k"}, limits=limits(headers=0.5, idle=60.0), slots=1) as server:
        stranger, client = server.connect(), server.connect()
        with stranger, client:
            stranger.sendall(HEALTH)
            assert one_answer(stranger)[0] == 200
            client.sendall(request(CHAT, Authorization="Bearer k"))
            assert one_answer(client)[0] == 200
            client.sendall(HEALTH)
            assert one_answer(client)[0] == 200
            assert everything(stranger) == b""
            client.sendall(request(CHAT, Authorization="Bearer k"))
            assert one_answer(client)[0] == 200


def test_a_flood_of_strangers_leaves_room(model: Model) -> None:
    """Of more connections than there may be the oldest strangers go; others are served, and a client keeps its own."""
    with running(model, {"api_key": "k"}, limits=limits(most=10), slots=1) as server:
        with server.connect() as client:
            client.sendall(request(CHAT, Authorization="Bearer k"))
            assert one_answer(client)[0] == 200
            held = []
            for index in range(60):
                held.append(server.connect())
                held[-1].sendall(HALF if index % 2 else b"")
                assert open_connections(server) <= 10
            assert httpx.get(server.url + "/health").status_code == 200
            assert everything(held[0]) == b""
            client.sendall(request(CHAT, Authorization="Bearer k"))
            assert one_answer(client)[0] == 200
            for connection in held:
                connection.close()


def test_answers_are_not_given_up_for_new_connections(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    """Where all connections wait for answers, a new one is closed, and the log says so."""
    with running(model, limits=limits(most=2), slots=2) as server, caplog.at_level(logging.WARNING, "rbe_edge.server"):
        body = {**CHAT, "max_tokens": None, "stream": True, **LONG}
        answers = []
        for count in (1, 2):
            answers.append(server.connect())
            answers[-1].sendall(request(body, Connection="close"))
            server.wait_for(lambda count=count: server.metric("rbe_slots_busy") == count)  # type: ignore[misc]
        with server.connect() as third:
            assert everything(third) == b""
        for answer in answers:
            assert everything(answer).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            answer.close()
    assert [record.getMessage() for record in caplog.records] == [
        "too many connections wait for answers; a new one was closed"
    ]


def test_a_long_answer_outlasts_all_limits(model: Model) -> None:
    """Reads it slowly, too: a client that takes something now and then takes its time."""
    short = limits(headers=0.2, idle=0.2, unread=1.0)
    with running(model, limits=short, slots=1) as server, server.connect() as client:
        client.sendall(request({**CHAT, "max_tokens": None, "stream": True, **LONG}, Connection="close"))
        found = b""
        began = time.monotonic()
        while data := client.recv(4096):
            found += data
            time.sleep(0.03)
        assert found.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and time.monotonic() - began > 0.5


def test_an_answer_must_be_taken(model: Model) -> None:
    """Answers of megabytes that nobody reads: the connection ends, and another client is served meanwhile."""
    with running(model, limits=limits(unread=1.0), slots=1) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
        server.wait_for(lambda: open_connections(server) == 1)
        (connection,) = server.server.server_state.connections
        server.wait_for(lambda: connection.transport.get_write_buffer_size() > 0)
        assert httpx.get(server.url + "/health").status_code == 200
        server.wait_for(lambda: open_connections(server) == 0)


def test_pipelined_requests_are_answered_in_turn(server: Running) -> None:
    text = {"model": "demo", "prompt": "Once upon a time", "temperature": 0}
    bodies = [{**text, "max_tokens": count} for count in (1, 5, 3)]
    with server.connect() as client:
        last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        client.sendall(b"".join(request(body, "/v1/completions") for body in bodies) + last)
        parts = everything(client).split(b"HTTP/1.1 200 OK")
    answers = [json.loads(part.split(b"\r\n\r\n")[1]) for part in parts[1:]]
    assert [answer["usage"]["completion_tokens"] for answer in answers[:3]] == [1, 5, 3]
    assert answers[3] == {"status": "ok"} and len(answers) == 4


def test_a_refused_body_is_not_kept(model: Model) -> None:
    """Without the key the answer comes before the body, which then has the time of headers to end."""
    with running(model, {"api_key": "k"}, limits=limits(headers=1.0), slots=1) as server:
        with server.connect() as client:
            client.sendall(request(b"x" * 1_000_000, length=4_000_000))
            assert one_answer(client)[0] == 401
            assert everything(client) == b""
        with server.connect() as client:  # all of it comes: the connection is good for the next request
            client.sendall(request(b"x" * 3_000_000))
            assert one_answer(client)[0] == 401
            client.sendall(HEALTH)
            assert one_answer(client)[0] == 200


@pytest.mark.parametrize("size", [200, 3_000_000, 9_000_000])
@pytest.mark.parametrize("key", ["k", "wrong"])
def test_a_client_that_closes_sees_why_it_was_refused(model: Model, size: int, key: str) -> None:
    """Its bytes are read before the connection ends; unread ones would make the system drop the answer."""
    status = {"k": {200: 400, 3_000_000: 400, 9_000_000: 413}[size], "wrong": 401}[key]
    with running(model, {"api_key": "k"}, slots=1) as server, server.connect() as client:
        client.sendall(request(b"x" * size, Authorization=f"Bearer {key}", Connection="close"))
        assert everything(client).startswith(f"HTTP/1.1 {status} ".encode())


BROKEN = {
    "nonsense": b"\x16\x03\x01 WORDS\r\n\r\n",
    "blank lines": b"\r\n\r\n\r\n",
    "headers without end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000,
    "a length of thousands of digits": b"POST /v1/completions HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a chunk": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nWORDS\r\n",
    "a chunk of a refused body": (
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"WORDS\r\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused_and_not_logged(server: Running, name: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = BROKEN[name]
    first, second = parts if isinstance(parts, tuple) else (parts, None)
    with caplog.at_level(logging.DEBUG), server.connect() as client:
        client.sendall(first)
        status, said = one_answer(client)
        assert status == (400 if second is None else 404) and json.loads(said)["error"]["message"]
        if second is not None:
            client.sendall(second)
        assert everything(client) == b""
    assert not [record for record in caplog.records if record.levelno >= logging.INFO and "httpx" not in record.name]


def test_clients_that_leave_are_not_logged(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with running(model, slots=1, queue_limit=20) as server, caplog.at_level(logging.INFO):
        for _ in range(10):
            with server.connect() as client:
                client.sendall(request({**CHAT, "max_tokens": None, "stream": True, **LONG}))
                client.recv(1000)
        server.wait_for(lambda: server.metric("rbe_slots_busy") == 0 and open_connections(server) == 0)
    assert not [record for record in caplog.records if "httpx" not in record.name]


def test_freed_memory_is_given_back_now_and_then(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from rbe_edge.server import http_server

    times: list[int] = []
    monkeypatch.setattr(http_server, "_TRIM_SECONDS", 0.0)
    monkeypatch.setattr(http_server, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(http_server, "give_memory_back", lambda: times.append(1))
    with running(model, slots=1) as server:
        server.wait_for(lambda: len(times) > 2)
        assert httpx.get(server.url + "/health").status_code == 200
