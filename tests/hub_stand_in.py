"""A hub on this machine: answers the real client of huggingface_hub as the real one does, and breaks off where told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def etag(name: str, data: bytes) -> str:
    """SHA-256 of what the hub keeps apart from git (LFS), SHA-1 as git counts it of the rest."""
    is_large = name.endswith(".safetensors")
    return hashlib.sha256(data).hexdigest() if is_large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs(name: str, path: Path) -> dict[str, object]:
    if not name.endswith(".safetensors"):
        return {}
    sha256, size = etag(name, path.read_bytes()), path.stat().st_size
    return {"lfs": {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": 130}}


@dataclass
class StandIn:
    """Serves the files of a directory as `repository`. broken: names of files of which only half is sent before the
    connection ends. damaged: names of files whose first byte is another one. elsewhere: names of files that are to be
    had at another address. claimed: bytes that the hub says a file has. asked: method, path, range."""

    directory: Path
    repository: str = "someone/tiny"
    broken: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    elsewhere: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def tree(self) -> list[dict[str, object]]:
        """What newer clients ask for."""
        return [
            {"type": "file", "path": name, "oid": etag(name, path.read_bytes()),
             "size": self.claimed.get(name, path.stat().st_size), **lfs(name, path)}
            for name, path in self.files()
        ]  # fmt: skip

    def files(self) -> list[tuple[str, Path]]:
        """All of the repository, also in folders."""
        found = sorted(path for path in self.directory.rglob("*") if path.is_file())
        return [(path.relative_to(self.directory).as_posix(), path) for path in found]

    def described(self) -> dict[str, object]:
        siblings = [
            {"rfilename": name, "size": self.claimed.get(name, path.stat().st_size),
             "blobId": etag("", path.read_bytes()), **lfs(name, path)}
            for name, path in self.files()
        ]  # fmt: skip
        return {"id": self.repository, "modelId": self.repository, "sha": COMMIT, "private": False, "tags": [],
                "downloads": 0, "likes": 0, "siblings": siblings,
                "safetensors": {"parameters": {"F32": 1000}, "total": 1000}}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand: StandIn

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        stand, path = self.stand, self.path.partition("?")[0]
        stand.asked.append((self.command, path, self.headers.get("Range")))
        api, files = f"/api/models/{stand.repository}", f"/{stand.repository}/resolve/{COMMIT}/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self._send(json.dumps(stand.described()).encode(), {"Content-Type": "application/json"})
        elif path == f"{api}/tree/{COMMIT}":
            self._send(json.dumps(stand.tree()).encode(), {"Content-Type": "application/json"})
        elif path.startswith(files) and (stand.directory / path[len(files) :]).is_file():
            name = path[len(files) :]
            data = (stand.directory / name).read_bytes()
            headers = {"ETag": f'"{etag(name, data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if name in stand.elsewhere and self.command == "GET":
                self._send(b"", {"Location": stand.elsewhere[name]}, 302)
                return
            if name in stand.damaged:
                data = bytes([data[0] ^ 1]) + data[1:]
            asked = self.headers.get("Range")
            first, _, last = asked.lower().removeprefix("bytes=").partition("-") if asked else ("0", "", "")
            part = data[int(first) : int(last) + 1 if last else None]
            if asked:
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
            self._send(part, headers, 206 if asked else 200, broken=name in stand.broken)
        else:
            wrong = "RevisionNotFound" if "/revision/" in path and path.startswith(api) else "RepoNotFound"
            self._send(b'{"error": "not found"}', {"X-Error-Code": wrong}, 404)

    def _send(self, body: bytes, headers: dict[str, str], status: int = 200, broken: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):  # the client may have been stopped
            self.wfile.write(body[: len(body) // 2] if broken else body)
            self.wfile.flush()
        if broken:
            self.connection.close()
            self.close_connection = True


def use(stand: StandIn, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the client in this process ask the stand-in, keep files in `cache` and try again without waiting."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, stand.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", stand.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    wait = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.01)))


@contextlib.contextmanager
def standing(directory: Path) -> Iterator[StandIn]:
    """A stand-in on a free port of this machine."""
    stand = StandIn(directory)
    handler = type("Handler", (_Handler,), {"stand": stand})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        stand.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield stand
        finally:
            server.shutdown()
            thread.join()
