"""What a browser gets: the chat page at `/`, the page of the interface at `/docs` with its description at
`/openapi.json`, and the files of both, which lie in `web/`. They hold nothing secret, so they need no key."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge.server.access import Access
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.openapi import description, operations_of

Endpoint = Callable[[Request], Awaitable[Response]]

_FOLDER = Path(__file__).resolve().parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)

#: A page may load from this server alone, run no script that a text holds, and lie in no frame of another.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_routes(access: Access, guarded: Callable[[Endpoint], Endpoint], needs_key: bool) -> list[Route]:
    """The routes of the pages. guarded: makes responses of an endpoint's errors. needs_key: whether the other routes
    need the key. Reads the files once: each start of a server serves what lay there then."""
    files = {path.name: _File(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}

    async def page(request: Request, name: str) -> Response:
        access.check_page(request)
        return files[name].response(request)

    async def file(request: Request) -> Response:
        access.check_page(request)
        found = files.get(request.path_params["name"])
        if found is None:
            raise ApiError(404, "there is no such file")
        return found.response(request)

    async def openapi(request: Request) -> Response:
        access.check_page(request)
        return JSONResponse(description(operations_of(request.app.routes), needs_key))

    return [
        Route("/", guarded(partial(page, name="index.html"))),
        Route("/docs", guarded(partial(page, name="docs.html"))),
        Route("/openapi.json", guarded(openapi)),
        Route("/web/{name}", guarded(file)),
    ]


def lean(text: str, suffix: str) -> str:
    """The text of a file without comments that have lines of their own, without indentation, and in CSS without blanks
    that mean nothing: a browser does not need them. No string or template in `web/` is longer than a line."""
    lines = (line.strip() for line in text.splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith(("//", "/*"))) + "\n"
    return re.sub(r"\s*([{};,])\s*", r"\1", text).replace(": ", ":") if suffix == ".css" else text


class _File:
    """A file with the headers that it is sent with. A browser asks each time whether it is still the same."""

    def __init__(self, path: Path) -> None:
        data = lean(path.read_text(encoding="utf-8"), path.suffix).encode("utf-8")
        self._type = _TYPES[path.suffix]
        self._forms = {"": data, "gzip": gzip.compress(data, mtime=0)}
        self._tag = hashlib.sha256(data).hexdigest()[:24]

    def response(self, request: Request) -> Response:
        coding = "gzip" if _TAKES_GZIP.search(request.headers.get("accept-encoding", "")) else ""
        tag = f'"{self._tag}{"-" if coding else ""}{coding}"'
        headers = {**_HEADERS, "Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}
        asked = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
        if tag in asked or "*" in asked:
            return Response(status_code=304, headers=headers)
        if coding:
            headers["Content-Encoding"] = coding
        return Response(self._forms[coding], media_type=self._type, headers=headers)
