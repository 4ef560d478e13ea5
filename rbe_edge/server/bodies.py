"""Reads the bodies of requests, within limits of time and memory."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
from starlette.requests import ClientDisconnect, Request

from rbe_edge.server.api_error import ApiError

_DISCARDED = 64 << 20  # bytes of a refused body that are read, and the seconds: so that the client sees the answer
_DISCARD_SECONDS = 1.0
_SILENT_SECONDS = 1.0  # after which a body gives way where there are too many
_WAIT_SECONDS = 20.0  # for that, or for bodies that are being understood


@dataclass(frozen=True)
class BodyLimits:
    """largest: bytes of a body. together: bytes of all that are being read or understood, at least two of the largest.
    A body ends by its time where nothing comes for `silence` seconds, or where `grace` seconds and those that its bytes
    take at `rate` bytes per second have passed."""

    largest: int = 4 << 20
    together: int = 32 << 20
    silence: float = 30.0
    grace: float = 30.0
    rate: float = 512.0


class _Body:
    """A body as far as it has come."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.heard_at = time.monotonic()
        self.is_waiting = False  # for room
        self.scope: anyio.CancelScope | None = None  # while it is being read
        self.refusal: ApiError | None = None

    def refuse(self, error: ApiError) -> None:
        assert self.scope is not None
        self.refusal = error
        self.scope.cancel()
        self.scope = None


class Bodies:
    """All bodies of a server. Use on one event loop."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._together = max(limits.together, 2 * limits.largest)
        self._bodies: list[_Body] = []  # the oldest first
        self.held = 0  # bytes
        self._is_stopping = False

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """The body, which counts as held until the context ends. Raises ApiError where it is too large, too slow, has
        been silent longest when others had no room, or got none itself; and ClientDisconnect."""
        if self._is_stopping:
            raise _stopping()
        if _declared(request) > self._limits.largest:
            await self.discard(request)
            raise self._too_large()
        body = _Body()
        self._bodies.append(body)
        try:
            with anyio.CancelScope() as body.scope:
                await self._fill(body, request, body.scope)
            body.scope = None
            if body.refusal is not None:
                raise body.refusal
            if len(body.data) > self._limits.largest:
                self._let_go(body)
                await self.discard(request)
                raise self._too_large()
            yield body.data
        finally:
            self._let_go(body)
            self._bodies.remove(body)

    async def discard(self, request: Request) -> None:
        """Reads a while what nobody wants of a body. A client that still sends, or whose bytes were not read when the
        connection is closed, would see no answer."""
        waits = request.headers.get("expect", "").lower() == "100-continue"  # until it is told to send
        if waits or (_declared(request) == 0 and "transfer-encoding" not in request.headers):
            return
        size, more = 0, True
        with anyio.move_on_after(_DISCARD_SECONDS):
            while more and size < _DISCARDED:
                chunk, more = await _next(request)
                size += len(chunk)

    def stop(self) -> None:
        """Refuses bodies that are unfinished, now and from now on."""
        self._is_stopping = True
        for body in self._bodies:
            if body.scope is not None:
                body.refuse(_stopping())

    async def _fill(self, body: _Body, request: Request, scope: anyio.CancelScope) -> None:
        """Reads until the body is complete or too large. Its end by time becomes the body's refusal."""
        limits, more = self._limits, True
        began = anyio.current_time()
        body.refusal = ApiError(408, "the body of the request did not come in time; send it again")
        while more and len(body.data) <= limits.largest:
            if self.held >= self._together:
                scope.deadline = math.inf
                began += await self._wait_for_room(body)
            latest = began + limits.grace + len(body.data) / limits.rate
            scope.deadline = min(anyio.current_time() + limits.silence, latest)
            chunk, more = await _next(request)
            body.data += chunk
            body.heard_at = time.monotonic()
            self.held += len(chunk)
        if not scope.cancel_called:
            body.refusal = None

    async def _wait_for_room(self, body: _Body) -> float:
        """The seconds that it took. Meanwhile its client cannot send. Others that only keep silent are refused. The
        oldest does not wait, so that some body always comes to its end."""
        began, body.is_waiting = time.monotonic(), True
        while self.held >= self._together:
            now = time.monotonic()
            unfinished = [one for one in self._bodies if one.scope is not None]
            if unfinished and unfinished[0] is body:
                break
            sending = [one for one in unfinished if not one.is_waiting]
            silent = min(sending, key=lambda one: one.heard_at, default=None)
            if silent is not None and now - silent.heard_at > _SILENT_SECONDS:
                silent.refuse(_too_many())
                self._let_go(silent)
            elif now - began > _WAIT_SECONDS:
                raise _too_many()
            else:
                await anyio.sleep(0.05)
        body.is_waiting = False
        return time.monotonic() - began

    def _let_go(self, body: _Body) -> None:
        self.held -= len(body.data)
        body.data = bytearray()

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._limits.largest} bytes; shorten it")


async def _next(request: Request) -> tuple[bytes, bool]:
    """What came of the body, and whether there is more of it."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect()
    return message.get("body", b""), message.get("more_body", False)


def _declared(request: Request) -> int:
    """The bytes that the headers announce; 0 where they do not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0


def _too_many() -> ApiError:
    return ApiError(503, "too many requests are being sent at once; try again", headers={"Retry-After": "2"})


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping")
