"""What a stranger can reach: every route asks who it is, none reaches the file system, no request hides another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_tools import CHAT, Running, everything, one_answer, request, running

from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SessionOptions

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

#: What needs no key: it holds nothing secret.
OPEN = {"/", "/docs", "/openapi.json", "/web/{name}", "/health"}
ELSEWHERE = (
    "example.org",
    "example.org:8080",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "[::2]",
    "0.0.0.0",
    "",
)
FOREIGN = ("https://example.org", "null", "http://localhost.example.org", "file://", "http://127.0.0.1:1", "")
HERE = ("localhost", "LOCALHOST", "localhost:1", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:80")

MARK = "rbe-door-mark"
BEHIND = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def doors(server: Running) -> list[tuple[str, str, str]]:
    """Method, route, and a path that leads to it, of all that the server has."""
    found = []
    for route in server.server.config.app.routes:
        path = route.path.replace("{model:path}", "demo").replace("{name}", "page.css")
        found += [(method, route.path, path) for method in sorted(route.methods - {"HEAD"})]
    assert len(found) > 25
    return found


CLIENT = httpx.Client(timeout=60)  # to make one takes longer than a request


def ask(server: Running, method: str, path: str, headers: dict[str, str]) -> int:
    body = b"{}" if method != "GET" else b""
    told = {"Content-Type": "application/json", **headers}
    return CLIENT.request(method, server.url + path, headers=told, content=body).status_code  # type: ignore[no-any-return]


@pytest.mark.parametrize("host", ELSEWHERE)
def test_every_route_refuses_other_hosts(server: Running, host: str) -> None:
    """A page's own name, resolved to this machine, is not this machine's (DNS rebinding)."""
    for method, route, path in doors(server):
        assert ask(server, method, path, {"Host": host}) == 403, (method, route)


@pytest.mark.parametrize("origin", FOREIGN)
def test_every_route_refuses_other_origins(server: Running, origin: str) -> None:
    for method, route, path in doors(server):
        assert ask(server, method, path, {"Origin": origin}) == 403, (method, route)


@pytest.mark.parametrize("host", HERE)
def test_names_of_this_machine(server: Running, host: str) -> None:
    assert ask(server, "GET", "/v1/models", {"Host": host}) == 200
    assert ask(server, "GET", "/v1/models", {"Host": host, "Origin": f"http://{host}"}) == 200


def test_every_route_but_the_pages_needs_the_key(model: Model) -> None:
    with running(model, {"api_key": "right-key"}, slots=1) as server:
        for method, route, path in doors(server):
            for headers in ({}, {"Authorization": "Bearer right-kex"}, {"Authorization": "Bearer right-key2"}):
                assert (ask(server, method, path, headers) == 401) == (route not in OPEN), (method, route)


def test_keys_are_compared_in_constant_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that decides is hmac.compare_digest, whatever the length of what was sent."""
    from rbe_edge.server import access

    seen: list[tuple[bytes, bytes]] = []

    def compare(sent: bytes, right: bytes) -> bool:
        seen.append((sent, right))
        return sent == b"changed"

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    with running(model, {"api_key": "right-key"}, slots=1) as server:
        sent = ["r", "right-ke", "RIGHT-KEY", "right-key", "x" * 5000, "changed"]
        statuses = [ask(server, "GET", "/v1/models", {"Authorization": f"Bearer {key}"}) for key in sent]
    assert statuses == [401] * 5 + [200]
    assert seen == [(key.encode(), b"right-key") for key in sent]


# ---- files ----

_reached: list[str] = []
_watched = threading.Event()


def _see(event: str, arguments: tuple[object, ...]) -> None:
    if _watched.is_set() and event.partition(".")[0] in ("open", "os", "glob", "shutil", "subprocess", "sqlite3"):
        _reached.extend(f"{event} {one!r}" for one in arguments if MARK in repr(one))


@pytest.fixture(scope="module")
def reached() -> list[str]:
    """What this process asks of the file system while _watched is set. Such a hook stays for ever."""
    sys.addaudithook(_see)
    return _reached


@contextlib.contextmanager
def stocked(folder: Path) -> Iterator[Running]:
    """A server of a folder of models, as `rbe serve --models` has it."""
    from rbe_edge.cli.served_models import HowToServe, ServedModels
    from rbe_edge.server.app import AppOptions, make_app
    from rbe_edge.server.connections import ConnectionLimits
    from rbe_edge.server.http_server import HttpServer
    from rbe_edge.server.serve import Place, listen
    from rbe_edge.server.service import Service, ServiceOptions
    from rbe_edge.server.shelf import Shelf

    session, options = SessionOptions(threads=1, context=256), ServiceOptions(slots=1)
    how: Any = HowToServe(session, options, True, lambda model: contextlib.nullcontext(None), lambda model: 1)
    with Model.open(demo_path()) as model:
        first = Service(model, session, options)
        listener, started = listen(Place(port=0)), threading.Event()
        app = make_app(Shelf(first, ServedModels(folder, how, first.metrics), 1 << 30, 1 << 20), AppOptions())
        server = HttpServer(app, listener, 5, started.set, ConnectionLimits())
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            assert started.wait(30)
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", first, server)
        finally:
            server.should_exit = True
            thread.join()
            first.close()


def test_no_request_reaches_the_file_system(tmp_path: Path, reached: list[str]) -> None:
    """Neither by its path nor by a word of its body: files of that name exist, and none is opened or looked for."""
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / f"{MARK}.rbe").write_bytes(demo_path().read_bytes())
    secret = tmp_path / MARK
    secret.write_text("SECRET WORDS")
    names = [str(secret), f"../{MARK}", f"..\\{MARK}", f"{MARK}\0.rbe", f"file://{secret}", f"%2e%2e/{MARK}"]
    paths = [f"/web/../{MARK}", f"/web/..%2f{MARK}", f"/web/%2e%2e%2f{MARK}.css", f"/web//{secret}", f"/..%5c{MARK}"]
    paths += [f"/v1/models/../{MARK}", f"/v1/models/{secret}", f"//{secret}", f"/web/{MARK}", f"/?file={secret}"]
    with stocked(folder) as server:
        reached.clear()
        _watched.set()
        try:
            for path in paths:
                with server.connect() as client:
                    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    assert b"SECRET" not in everything(client)
            for name in names:
                words = ("model", "name", "prompt", "input", "query", "system", "template", "suffix", "from")
                turns = [{"role": "user", "content": name, "images": [name]}]
                body = {
                    **dict.fromkeys(words, name),
                    "documents": [name],
                    "messages": turns,
                    "options": {"adapter": name},
                }
                for method, _, path in doors(server):
                    if method == "POST":
                        data = json.dumps(body).encode()
                        assert b"SECRET" not in CLIENT.post(server.url + path, content=data).content
            open(secret).close()  # the hook sees it
        finally:
            _watched.clear()
    assert len(reached) == 1 and reached[0].startswith("open "), reached


# ---- one request after the other ----

#: What comes, and how many answers: a request that is read two ways ends the connection.
MESSAGES: dict[str, tuple[bytes, list[int]]] = {
    "two ends": (HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n", [400]),
    "two ends, the other way": (HEAD + CHUNKED + b"Content-Length: 50\r\n\r\n0\r\n\r\n", [400]),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}", [400]),
    "a length with a sign": (HEAD + b"Content-Length: +2\r\n\r\n{}", [400]),
    "a negative length": (HEAD + b"Content-Length: -2\r\n\r\n{}", [400]),
    "a length in hexadecimal": (HEAD + b"Content-Length: 0x2\r\n\r\n{}", [400]),
    "another coding": (HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", [400]),
    "two codings": (HEAD + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", [400]),
    "an unknown coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400]),
    "a coding behind a blank": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400]),
    "a blank before the colon": (HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", [400]),
    "a folded length": (HEAD + b"Content-Length: 2\r\n X: y\r\n\r\n{}", [400]),
    "chunks in HTTP/1.0": (HEAD.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n", [400]),
    "a chunk with a sign": (HEAD + CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n", [400]),
    "a chunk that is longer": (HEAD + CHUNKED + b"\r\n2\r\n{}XX0\r\n\r\n", [400]),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n", [400]),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", [400]),
    "no host in HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", [403]),
    "a zero byte": (b"GET /health\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", [400]),
    # And what has one meaning: the next request is read as one.
    "a chunk with an extension": (HEAD + CHUNKED + b"\r\n2;a=b\r\n{}\r\n0\r\n\r\n", [400, 200]),
    "a length behind the body": (HEAD + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n", [400, 200]),
    "a body that nobody wants": (HEALTH + b"Content-Length: 20\r\n\r\n" + BEHIND[:20], [200, 200]),
    "an address before the path": (b"GET http://example.org/health HTTP/1.1\r\nHost: localhost\r\n\r\n", [404, 200]),
    "another protocol": (HEALTH + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", [200, 200]),
    "a tunnel": (b"CONNECT example.org:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", [404, 200]),
}  # fmt: skip


def statuses(said: bytes) -> list[int]:
    """Of answers one after the other; no body holds such a line."""
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("name", MESSAGES)
def test_no_request_hides_in_another(server: Running, name: str) -> None:
    sent, wanted = MESSAGES[name]
    last = BEHIND.replace(b"localhost\r\n", b"localhost\r\nConnection: close\r\n")
    with server.connect() as client:
        client.sendall(sent + last)
        assert statuses(everything(client)) == wanted
    with server.connect() as client:  # byte by byte, nearly: what comes apart means the same
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(sent + last), 7):
                client.sendall((sent + last)[at : at + 7])
        assert statuses(everything(client)) == wanted


def test_headers_are_few_and_small(server: Running) -> None:
    start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    for more, status in (
        (b"a: b\r\n" * 99, 200), (b"a: b\r\n" * 100, 431), (b"a:\r\n" * 12_000, 431),
        (b"a: " + b"b" * 60_000 + b"\r\n", 200),
    ):  # fmt: skip
        with server.connect() as client:
            client.sendall(start + more + b"\r\n")
            found, said = one_answer(client)
            assert found == status
            if status == 431:
                assert "headers" in json.loads(said)["error"]["message"]
                assert everything(client) == b""  # it has ended


def test_a_body_in_very_many_chunks(server: Running) -> None:
    data = json.dumps(CHAT).encode() + b" " * 20_000
    with server.connect() as client:
        client.sendall(HEAD + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n")
        assert one_answer(client)[0] == 200


# ---- bombs ----

TEMPLATES = {
    "steps": "{% for i in range(100000000) %}{{ i }}{% endfor %}",
    "steps in steps": "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
    "memory": "{{ ('x' * 99999999) * 9999 }}",
    "power": "{{ (9 ** 9) ** (9 ** 9) }}",
    "doubling": "{% set s = namespace(x='a') %}{% for i in range(99) %}{% set s.x = s.x + s.x %}{% endfor %}{{ s.x }}",
    "itself": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "way out": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_bombs_end_and_others_are_served(model: Model, name: str) -> None:
    with running(model, slots=1, template=TEMPLATES[name]) as server:
        found = CLIENT.post(server.url + "/v1/chat/completions", json=CHAT)
        assert found.status_code == 400 and "template" in found.json()["error"]["message"]
        plain = {"model": "demo", "prompt": "Hello", "max_tokens": 2}
        assert CLIENT.post(server.url + "/v1/completions", json=plain).status_code == 200


def nested(levels: int, wide: int) -> Any:
    schema: Any = {"type": "integer"}
    for level in range(levels):
        schema = {"anyOf": [{"type": "object", "properties": {f"p{level}{i}": schema}} for i in range(wide)]}
    return schema


def test_schema_bombs_end_and_others_are_served(server: Running) -> None:
    """Each is answered or refused; httpx waits a minute at most."""
    bombs = {
        "deep": nested(60, 1),
        "wide and deep": nested(7, 4),
        "all of any": {"allOf": [{"anyOf": [{"minimum": i}, {"maximum": -i}]} for i in range(40)], "type": "integer"},
        "itself": {"$ref": "#"},
        "itself in lists": {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
        "doubling": {
            "$ref": "#/$defs/d30",
            "$defs": {
                "d0": {"type": "null"},
                **{
                    f"d{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i - 1}"}] * 2, "minItems": 2}
                    for i in range(1, 31)
                },
            },
        },
        "long": {"type": "string", "minLength": 10**9},
        "many": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
        "numbers": {"enum": list(range(40_000))},
    }
    for name, schema in bombs.items():
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        found = CLIENT.post(server.url + "/v1/chat/completions", json={**CHAT, "response_format": wanted})
        assert found.status_code in (200, 400), (name, found.text)
        assert CLIENT.get(server.url + "/health").status_code == 200


def test_an_answer_may_not_be_asked_for_by_a_page_of_another_port(server: Running) -> None:
    """Another program of this machine has pages too: the port belongs to the origin."""
    with server.connect() as client:
        client.sendall(request(CHAT, Host="localhost:8080", Origin="http://localhost:8081"))
        assert one_answer(client)[0] == 403
