"""What a browser gets of the pages: files, headers, who may see them; and what the description describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_tools import CHAT, Running, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

FOLDER = Path(__file__).resolve().parents[2] / "rbe_edge" / "server" / "web"
CHAT_PAGE_BYTES = 60_000  # that a browser loads of the chat page
PAGES = ("/", "/docs")


@pytest.fixture(scope="module")
def with_key(model: Model) -> Iterator[Running]:
    with running(model, {"api_key": "k"}, slots=1) as found:
        yield found


def files_of(server: Running, path: str) -> dict[str, Any]:
    """The page and all that it loads, by address."""
    found, waiting = {}, [path.lstrip("/")]
    while waiting:
        address = waiting.pop()
        if address not in found:
            found[address] = response = httpx.get(f"{server.url}/{address}")
            assert response.status_code == 200, address
            waiting += re.findall(r'(?:src|href)="(web/[^"]+)"', response.text)
            waiting += [f"web/{name}" for name in re.findall(r'(?:from|import) "\./([^"]+)"', response.text)]
    return found


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_nothing_from_elsewhere(with_key: Running, path: str) -> None:
    """And no key: they hold nothing secret, and ask for it."""
    for address, response in files_of(with_key, path).items():
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(src|href|url|from|import)\W{1,3}(https?:)?//""", text), address
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|style=|\son\w+=", text), (
            address
        )


def test_the_chat_page_is_small(server: Running) -> None:
    """Even where nothing is compressed."""
    sizes = {address: len(one.content) for address, one in files_of(server, "/").items()}
    assert 20_000 < sum(sizes.values()) < CHAT_PAGE_BYTES, sizes


def test_every_file_is_used(server: Running) -> None:
    used = {address for path in PAGES for address in files_of(server, path)}
    there = {f"web/{path.name}" for path in FOLDER.iterdir() if path.suffix != ".html"}
    assert there == {address for address in used if address.startswith("web/")}


def test_a_browser_asks_whether_a_file_has_changed(server: Running) -> None:
    for coding in ("gzip", "identity", "gzip;q=0"):
        headers = {"Accept-Encoding": coding}
        first = httpx.get(f"{server.url}/", headers=headers)
        assert (first.headers.get("content-encoding") == "gzip") == (coding == "gzip")
        assert first.text.splitlines()[-1] == "</html>" and 4000 < len(first.text)
        tag = first.headers["etag"]
        again = httpx.get(f"{server.url}/", headers={**headers, "If-None-Match": f'"x", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert httpx.get(f"{server.url}/", headers={**headers, "If-None-Match": '"x"'}).status_code == 200
    assert httpx.head(f"{server.url}/").headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["x.js", "index.html.py", "..%2Fpages.py", "%2e%2e/pages.py", "__init__.py", "%00"])
def test_no_other_file_is_sent(server: Running, name: str) -> None:
    response = httpx.get(f"{server.url}/web/{name}")
    assert response.status_code == 404 and response.json()["error"]["message"]


def test_the_page_may_use_its_server_and_other_pages_may_not(server: Running) -> None:
    place = server.url.removeprefix("http://")
    own = {"Origin": server.url}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=own).status_code == 200
    for origin in ("http://localhost:1", f"http://{place}.example.org", "null", f"file://{place}", "http://", place):
        headers = {"Origin": origin}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=headers).status_code == 403, origin
        assert httpx.get(f"{server.url}/", headers=headers).status_code == 403, origin
    rebound = {"Origin": "http://example.org", "Host": "example.org"}  # a name that its owner lets point here
    assert httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=rebound).status_code == 403
    assert httpx.get(f"{server.url}/", headers={"Host": "example.org"}).status_code == 403


def test_a_page_that_rebinds_its_name_has_no_key(model: Model) -> None:
    with running(model, {"api_key": "k", "local_only": False}, slots=1) as server:
        rebound = {"Origin": "http://example.org", "Host": "example.org"}
        url = f"{server.url}/v1/chat/completions"
        assert httpx.post(url, json=CHAT, headers=rebound).status_code == 401
        behind_tls = {"Origin": "https://example.org", "Host": "example.org", "Authorization": "Bearer k"}
        assert httpx.post(url, json=CHAT, headers=behind_tls).status_code == 200


def test_every_route_is_described(server: Running, with_key: Running) -> None:
    from rbe_edge.server.openapi import operations_of
    from rbe_edge.server.openapi_paths import OPERATIONS

    told = httpx.get(f"{server.url}/openapi.json").json()
    described = {(method, path) for path, methods in told["paths"].items() for method in methods}
    assert set(OPERATIONS) <= described
    routes = server.server.config.app.routes
    assert described == {(one.method, one.path) for one in operations_of(routes)} and len(described) >= 10
    names = [one["operationId"] for methods in told["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)
    assert all(one["summary"] for methods in told["paths"].values() for one in methods.values())
    assert not any("security" in one for methods in told["paths"].values() for one in methods.values())
    keyed = httpx.get(f"{with_key.url}/openapi.json").json()["paths"]
    for path, methods in keyed.items():
        status = httpx.request("GET", f"{with_key.url}{path}").status_code
        assert status in (200, 401, 404, 405)
        if "get" in methods:
            assert ("security" in methods["get"]) == (status == 401), path


def test_what_is_not_described_yet_still_has_a_line() -> None:
    from starlette.routing import Route

    from rbe_edge.server.openapi import description, operations_of

    async def endpoint(request: Any) -> Any:
        """Tells the time. In seconds."""

    told = description(operations_of([Route("/api/time/{zone:path}", endpoint, methods=["POST"])]), needs_key=True)
    one = told["paths"]["/api/time/{zone}"]["post"]
    assert one["summary"] == "Tells the time" and one["parameters"][0]["name"] == "zone"
