"""A line for each request: who, what, how it ended, how long it took. Nothing that a client sent is in it: of a path,
what the server itself calls it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Takes a line. Must not block for long or raise.
Write = Callable[[str], None]

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class AccessLog:
    """Around an application."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], write: Write) -> None:
        self._app, self._routes, self._write = app, routes, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.monotonic(), 0, 0

        async def counting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            client = scope.get("client")
            who, seconds = client[0] if client else "-", time.monotonic() - began
            when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            line = f"{when} {who} {self._asked(scope)} {status or '-'} {sent} bytes {seconds:.3f} s"
            self._write(line)

    def _asked(self, scope: Scope) -> str:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        for route in self._routes:
            if route.matches(scope)[0] != Match.NONE:
                return f"{method} {route.path}"
        return f"{method} (no such path)"
