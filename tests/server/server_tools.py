"""What the tests of the server share: servers on a free port of this machine, in a thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions

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


@contextlib.contextmanager
def running(model: Model, app: dict[str, Any] | None = None, **service: Any) -> Iterator[Running]:
    """A server; service: ServiceOptions, app: AppOptions."""
    pytest.importorskip("starlette")
    uvicorn = pytest.importorskip("uvicorn")
    from rbe_edge.server.app import AppOptions, make_app
    from rbe_edge.server.serve import Place, listen
    from rbe_edge.server.service import Service, ServiceOptions

    made = Service(model, SessionOptions(threads=1), ServiceOptions(**service))
    listener = listen(Place(port=0))
    config = uvicorn.Config(
        make_app(made, AppOptions(**(app or {}))), log_config=None, lifespan="on", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    found = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", made)
    try:
        found.wait_for(lambda: server.started)
        yield found
    finally:
        server.should_exit = True
        thread.join()
        made.close()
        listener.close()
