"""Who may use the server: keys, and web pages in browsers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rbe_edge.server.api_error import ApiError

_LOCAL = ("localhost", "127.0.0.1", "::1")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "token"
_PREFLIGHT_SECONDS = 7200  # that a browser may remember an answer; Chrome's own limit


class Access:
    """api_key None: none is needed. cors_origins: web pages of these may use the server, `*`: all. local_only: requests
    for other host names than this machine's are refused where no key is needed."""

    def __init__(self, api_key: str | None, cors_origins: Sequence[str], local_only: bool) -> None:
        self._api_key, self._cors_origins, self._local_only = api_key, cors_origins, local_only

    def check(self, request: Request) -> None:
        """Raises ApiError where the request may not use the server. Reads its headers alone."""
        self.check_page(request)
        if self._api_key is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if not token and "x-api-key" in request.headers:  # Anthropic's clients
                scheme, token = "bearer", request.headers["x-api-key"]
            # latin-1: how headers are decoded. compare_digest takes the same time wherever they differ.
            right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._api_key.encode("utf-8"))
            if scheme.lower() != "bearer" or not right:
                raise ApiError(
                    401,
                    "the API key is missing or wrong; send it as `Authorization: Bearer KEY`",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        request.state.may_use_the_server = True  # for its connection, which is no stranger's from now on

    def check_page(self, request: Request) -> None:
        """A web page in a browser of this machine must not use the server unless it is the server's own (pages.py) or
        an option allows it: neither by a cross-origin request, nor by resolving its own name to this machine's address
        (DNS rebinding)."""
        if self._local_only and self._api_key is None:
            try:
                host = urlsplit(f"//{request.headers.get('host', '')}").hostname
            except ValueError:
                host = None
            if host not in _LOCAL:
                raise ApiError(
                    403, "this server answers requests for localhost alone; start it with --api-key for others"
                )
        origin = request.headers.get("origin")
        own = origin is not None and _is_own(origin, request.headers.get("host", ""))
        if origin is not None and not own and not _is_allowed(origin, self._cors_origins):
            raise ApiError(403, "web pages of this origin may not use the server; --cors-origin allows it")


def _is_allowed(origin: str, origins: Sequence[str]) -> bool:
    return "*" in origins or origin in origins


def _is_own(origin: str, host: str) -> bool:
    """Whether the page of a request came from the host that the request goes to. The scheme may be that of a proxy."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place != "" and place.lower() == host.lower()


class Cors:
    """Tells browsers that pages of some origins may use the application: all headers that they ask for, errors too, and
    from public pages to private networks. Other origins are told nothing."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if scope["type"] != "http" or (origin is not None and not _is_allowed(origin, self._origins)):
            await self._app(scope, receive, send)
            return

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told.add_vary_header("Origin")
                if origin is not None:
                    told["Access-Control-Allow-Origin"] = "*" if "*" in self._origins else origin
                    told["Access-Control-Expose-Headers"] = "Retry-After, WWW-Authenticate, X-Max-Tokens-Clamped"
            await send(message)

        if origin is not None and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await PlainTextResponse("", headers=_preflight(headers))(scope, receive, send_with_origin)
        else:
            await self._app(scope, receive, send_with_origin)


def _preflight(headers: Headers) -> dict[str, str]:
    """What a browser is told that asks before a request."""
    told = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        "Vary": "Access-Control-Request-Headers, Access-Control-Request-Private-Network",
    }
    asked = [name.strip() for name in ",".join(headers.getlist("access-control-request-headers")).split(",")]
    allowed = [name for name in asked if _HEADER_NAME.fullmatch(name)]
    if allowed:
        told["Access-Control-Allow-Headers"] = ", ".join(allowed)
    if headers.get("access-control-request-private-network") == "true":
        told["Access-Control-Allow-Private-Network"] = "true"
    return told
