"""What the tests of the server share: servers on a free port of this machine, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions

# A request that every server answers, soon.
CHAT: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Hello!"}],
    "max_tokens": 4,
    "temperature": 0,
}
# Members of a request whose answer takes a while, whatever the model says: a text of at least 800 characters.
LONG: dict[str, Any] = {
    "temperature": 1.0,
    "seed": 1,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "long", "schema": {"type": "string", "minLength": 800, "maxLength": 850}},
    },
}


@dataclass
class Running:
    """url: without /v1."""

    url: str
    service: Any
    server: Any

    def connect(self) -> socket.socket:
        """A connection without a client's manners."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def client(self, key: str = "any") -> Any:
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = self.service.metrics.text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not come about"
            time.sleep(0.005)


def request(body: Any, path: str = "/v1/chat/completions", length: int | None = None, **headers: str) -> bytes:
    """A POST as it goes over the wire. body: JSON, or bytes. length: that the headers announce."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Host": "localhost", "Content-Length": str(len(data) if length is None else length), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def one_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer; nothing of a further one may have come."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            found += data
    return found


@contextlib.contextmanager
def running(
    model: Model,
    app: dict[str, Any] | None = None,
    limits: Any = None,
    stop_seconds: int = 5,
    governor: Any = None,
    **service: Any,
) -> Iterator[Running]:
    """A server; service: ServiceOptions, app: AppOptions, limits: ConnectionLimits."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from rbe_edge.server.app import AppOptions, make_app
    from rbe_edge.server.connections import ConnectionLimits
    from rbe_edge.server.http_server import HttpServer
    from rbe_edge.server.serve import Place, listen
    from rbe_edge.server.service import Service, ServiceOptions

    made = Service(model, SessionOptions(threads=1), ServiceOptions(**service), governor)
    listener = listen(Place(port=0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    started = threading.Event()
    application = make_app(made, AppOptions(**(app or {})))
    server = HttpServer(application, listener, stop_seconds, started.set, limits or ConnectionLimits())
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        assert started.wait(30)
        yield Running(url, made, server)
    finally:
        server.should_exit = True
        thread.join()
        made.close()
        listener.close()


def ask(client: Any, text: str = "Hello!", **more: Any) -> Any:
    """What the demo model answers, through OpenAI's client."""
    settings = {"temperature": 0, "max_tokens": 40, **more}
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}], **settings)
