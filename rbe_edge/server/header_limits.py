"""Refuses requests whose headers are too many or too large, or say in two ways where the body ends."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.bodies import Bodies
from rbe_edge.server.desk import error_response

#: Browsers send some 20, OpenAI's client 15, a proxy a few more.
MOST_HEADERS = 100

#: Of the path, the query and all headers; connections.py bounds what is not complete yet by the same.
MOST_HEADER_BYTES = 64 << 10


class HeaderLimits:
    """Around an application. A connection whose request is refused ends with the answer: what else it sent is not read
    as requests."""

    def __init__(self, app: ASGIApp, bodies: Bodies) -> None:
        self._app, self._bodies = app, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = _fault_of(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        await self._bodies.discard(request)
        await error_response(error, request.url.path)(scope, receive, send)


def _fault_of(scope: Scope) -> ApiError | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        told = f"the request has more than {MOST_HEADERS} headers, or more than {MOST_HEADER_BYTES} bytes of them"
        return ApiError(431, told, headers={"Connection": "close"})
    names = [name for name, _ in headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        # A proxy before the server may take the other, and what it took for a body would be read as a request here.
        told = "the request has both Content-Length and Transfer-Encoding; send one of them"
        return ApiError(400, told, headers={"Connection": "close"})
    return None
