"""Several models behind one server: found by name, opened when asked for, and gone where room is needed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server_tools import CHAT, LONG, Running

from rbe_edge.errors import ModelError
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SessionOptions

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

MODEL_BYTES = 1000


class Models:
    """A stock of copies of the demo. Counts what it opens and closes."""

    def __init__(self, directory: Path, metrics: Any) -> None:
        self.directory, self.metrics = directory, metrics
        self.events: list[str] = []
        self.wait: threading.Event | None = None

    def paths(self) -> dict[str, Path]:
        return {path.stem.replace("-4bit", ":4bit"): path for path in sorted(self.directory.glob("*.rbe"))}

    def opened(self, name: str, path: Path) -> Any:
        return self._open(name, path)

    @contextlib.contextmanager
    def _open(self, name: str, path: Path) -> Iterator[Any]:
        from rbe_edge.server.service import Service, ServiceOptions

        if self.wait is not None:
            assert self.wait.wait(30)
        with Model.open(path) as model:
            options = ServiceOptions(model_id=name, slots=1)
            with contextlib.closing(Service(model, SessionOptions(threads=1), options, None, self.metrics)) as service:
                self.events.append(f"+{name}")
                yield service
        self.events.append(f"-{name}")

    def bytes_of(self, path: Path) -> int:
        if path.stat().st_size < 1000:
            raise ModelError("it is no model")
        return MODEL_BYTES


@contextlib.contextmanager
def serving(directory: Path, most: int, first_name: str | None = None) -> Iterator[tuple[Running, Models]]:
    from rbe_edge.server.app import AppOptions, make_app
    from rbe_edge.server.connections import ConnectionLimits
    from rbe_edge.server.http_server import HttpServer
    from rbe_edge.server.serve import Place, listen
    from rbe_edge.server.service import Service, ServiceOptions
    from rbe_edge.server.shelf import Shelf

    for name in ("a", "b", "c-4bit"):
        shutil.copy(demo_path(), directory / f"{name}.rbe")
    (directory / "broken.rbe").write_bytes(b"x")
    with Model.open(demo_path()) as model:
        first = Service(model, SessionOptions(threads=1), ServiceOptions(model_id=first_name, slots=1))
        stock = Models(directory, first.metrics)
        listener, started = listen(Place(port=0)), threading.Event()
        app = make_app(Shelf(first, stock, most, MODEL_BYTES), AppOptions())
        server = HttpServer(app, listener, 5, started.set, ConnectionLimits())
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            assert started.wait(30)
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", first, server), stock
        finally:
            server.should_exit = True
            thread.join()
            first.close()


def chat(server: Running, name: str | None, **more: Any) -> Any:
    return httpx.post(f"{server.url}/v1/chat/completions", json={**CHAT, "model": name, **more}, timeout=60)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    with serving(tmp_path, most=3 * MODEL_BYTES) as (server, stock):
        listed = httpx.get(server.url + "/v1/models").json()["data"]
        assert [one["id"] for one in listed] == ["demo", "a", "b", "broken", "c:4bit"]
        assert "context_length" in listed[0] and "context_length" not in listed[1]
        for name in ("a", "b", "a", "c:4bit", "a:latest", "b.rbe"):
            answer = chat(server, name)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == name.removesuffix(":latest").removesuffix(".rbe")
        assert stock.events == ["+a", "+b", "-b", "+c:4bit", "-c:4bit", "+b"]
        assert chat(server, "demo").json()["model"] == "demo"  # it stays
        running = {one["name"] for one in httpx.get(server.url + "/api/ps").json()["models"]}
        assert running == {"demo:latest", "a:latest", "b:latest"}
        assert httpx.get(server.url + "/v1/models/c-4bit").json()["id"] == "c:4bit"
        for name in ("c", "c-4bit"):  # without its bits, and as its file is called
            assert chat(server, name).json()["model"] == "c:4bit"
        assert chat(server, "d").status_code == 404 and "'a'" in chat(server, "d").json()["error"]["message"]
        assert chat(server, "../a").status_code == 404
        missing = chat(server, None)
        assert missing.status_code == 400 and missing.json()["error"]["param"] == "model"
        broken = chat(server, "broken")
        assert broken.status_code == 500 and str(tmp_path) not in broken.text
        assert chat(server, "a").status_code == 200
    assert sum(event[0] == "+" for event in stock.events) == sum(event[0] == "-" for event in stock.events)


def test_the_first_one_without_its_bits(tmp_path: Path) -> None:
    with serving(tmp_path, 3 * MODEL_BYTES, "big:4bit") as (server, stock):
        for name in ("big", "big:4bit", "big-4bit", "big:latest"):
            assert chat(server, name).json()["model"] == "big:4bit"
        assert stock.events == []


def test_a_model_in_use_stays(tmp_path: Path) -> None:
    with serving(tmp_path, most=2 * MODEL_BYTES) as (server, stock), ThreadPoolExecutor(1) as executor:
        long = executor.submit(lambda: chat(server, "a", max_tokens=None, **LONG))
        server.wait_for(lambda: "+a" in stock.events and server.metric("rbe_slots_busy") == 1)
        refused = chat(server, "b")
        assert refused.status_code == 503 and refused.headers["Retry-After"]
        assert long.result().status_code == 200 and chat(server, "b").status_code == 200
        assert stock.events[:3] == ["+a", "-a", "+b"]


def test_a_model_that_never_fits(tmp_path: Path) -> None:
    with serving(tmp_path, most=MODEL_BYTES) as (server, stock):
        refused = chat(server, "a")
        assert refused.status_code == 503 and "Retry-After" not in refused.headers and not stock.events


def test_requests_for_the_same_model_open_it_once(tmp_path: Path) -> None:
    with serving(tmp_path, most=4 * MODEL_BYTES) as (server, stock), ThreadPoolExecutor(4) as executor:
        stock.wait = threading.Event()
        waiting = [executor.submit(lambda: chat(server, "a").status_code) for _ in range(3)]
        assert chat(server, "demo").status_code == 200  # what is open answers meanwhile
        stock.wait.set()
        assert [one.result() for one in waiting] == [200] * 3 and stock.events == ["+a"]


def test_a_file_that_is_another_one_is_opened_again(tmp_path: Path) -> None:
    with serving(tmp_path, most=4 * MODEL_BYTES) as (server, stock):
        assert [chat(server, "a").status_code for _ in range(2)] == [200, 200] and stock.events == ["+a"]
        shutil.copy(demo_path(), tmp_path / "new")
        os.utime(tmp_path / "new", (1e9, 1e9))
        os.replace(tmp_path / "new", tmp_path / "a.rbe")
        assert chat(server, "a").status_code == 200 and stock.events == ["+a", "-a", "+a"]
        (tmp_path / "a.rbe").unlink()
        assert chat(server, "a").status_code == 404 and chat(server, "demo").status_code == 200


def test_keep_alive(tmp_path: Path) -> None:
    def asked(keep: Any, **more: Any) -> Any:
        body = {"model": "a", "messages": CHAT["messages"], "options": {"num_predict": 2}, "keep_alive": keep, **more}
        return httpx.post(server.url + "/api/chat", json={"stream": False, **body}, timeout=60)

    with serving(tmp_path, most=4 * MODEL_BYTES) as (server, stock):
        assert asked("10m").json()["load_duration"] > 0 and asked(-1).json()["load_duration"] == 0
        assert stock.events == ["+a"]
        assert asked(0).status_code == 200
        server.wait_for(lambda: stock.events == ["+a", "-a"])
        assert asked(None, messages=[]).json()["done_reason"] == "load"
        assert asked(0, messages=[]).json()["done_reason"] == "unload"
        server.wait_for(lambda: stock.events == ["+a", "-a"] * 2)
        assert server.metric("rbe_slots") == 1 and server.metric("rbe_queue_length") == 0


def test_a_client_that_leaves_releases_its_model(tmp_path: Path) -> None:
    with serving(tmp_path, most=2 * MODEL_BYTES) as (server, stock):
        body = {**CHAT, "model": "a", "max_tokens": None, "stream": True, **LONG}
        with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=60) as response:
            next(response.iter_bytes())
        server.wait_for(lambda: chat(server, "b").status_code == 200)
        assert stock.events == ["+a", "-a", "+b"]


def test_the_command_serves_a_directory(tmp_path: Path) -> None:
    for name in ("one", "two-4bit"):
        shutil.copy(demo_path(), tmp_path / f"{name}.rbe")
    words = ["--port", "0", "-t", "1", "--json", "--models", str(tmp_path), "--models-memory", "1G", "--access-log"]
    command = [sys.executable, "-m", "rbe_edge", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True)
    try:
        import json

        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        names = [one["id"] for one in httpx.get(url + "/models").json()["data"]]
        assert names == ["demo", "one", "two:4bit"]
        body = {**CHAT, "model": "two:4bit"}
        assert httpx.post(url + "/chat/completions", json=body, timeout=60).json()["model"] == "two:4bit"
        httpx.get(url + "/secret-words")
        time.sleep(0.05)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert "POST /v1/chat/completions 200" in errors and "GET (no such path) 404" in errors
    assert "secret" not in errors and "Traceback" not in errors


def test_what_a_model_takes_and_how_it_is_opened(tmp_path: Path) -> None:
    """A context above a model's own becomes its own; a smaller one takes less memory."""
    from rbe_edge.cli.served_models import HowToServe, ServedModels, needed_bytes
    from rbe_edge.runtime.governor import Governor
    from rbe_edge.server.metrics import Metrics
    from rbe_edge.server.service import ServiceOptions

    sizes = [needed_bytes(demo_path(), SessionOptions(context=context), 2) for context in (256, 0, 1024, 100_000)]
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3]
    assert needed_bytes(demo_path(), SessionOptions(), 4) > sizes[1]
    (tmp_path / "broken.rbe").write_bytes(b"x")
    shutil.copy(demo_path(), tmp_path / "small-2.5bit.rbe")
    (tmp_path / "text.txt").write_text("x")
    session = SessionOptions(context=100_000, threads=1)
    how = HowToServe(session, ServiceOptions(slots=1), True, Governor, lambda model: 1)
    stock = ServedModels(tmp_path, how, Metrics())
    assert stock.paths() == {"broken": tmp_path / "broken.rbe", "small:2.5bit": tmp_path / "small-2.5bit.rbe"}
    with stock.opened("small:2.5bit", tmp_path / "small-2.5bit.rbe") as service:
        assert (service.scheduler.context, service.model_id) == (1024, "small:2.5bit")
    with pytest.raises(ModelError), stock.opened("broken", tmp_path / "broken.rbe"):
        pass
    assert ServedModels(tmp_path / "none", how, Metrics()).paths() == {}
