"""Connections that take their time: how long each may, and which are closed where there are too many.

Uvicorn's protocol reads HTTP. Here its connections get limits for all that a client owes outside of a body (bodies.py):
the headers of a request, the next request, the rest of a body that was refused, and the reading of an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.error_forms import error_body

_READ_AT_ONCE = 16 << 10  # bytes: others get their turn in between, whatever they take to understand


@dataclass(frozen=True)
class ConnectionLimits:
    """most: connections at a time; None: as many as there are descriptors for, up to 500. The others are seconds.
    headers: until a request's headers are there, and for the rest of a body that was refused. idle: between requests,
    where the client has shown that it may use the server (else: `headers`). unread: without a byte of an answer being
    taken."""

    most: int | None = None
    headers: float = 10.0
    idle: float = 30.0
    unread: float = 60.0


class Connection(H11Protocol):
    """A connection, and since when its client has owed what it owes."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._has_shown_itself = False
        self.since = self.loop.time()
        self._unread = 0  # bytes of answers that the system has not taken yet, at the last look
        self._taken_at = self.since

    @property
    def may_use_the_server(self) -> bool:
        """A request of it has passed the checks (access.py); until then it is a stranger's."""
        now = self.scope is not None and bool(self.scope["state"].get("may_use_the_server"))
        return self._has_shown_itself or now

    @property
    def is_answered(self) -> bool:
        """A request has its headers, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_between_requests(self) -> bool:
        return not self.is_answered and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    @property
    def awaits_client(self) -> bool:
        """Nothing happens before the client sends more, or takes what it was sent."""
        return not self.is_answered or self.cycle.more_body

    # ---- called by asyncio and uvicorn ----

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # of asyncio's own loop: what one look at a socket reads, 256 KiB
            transport.max_size = _READ_AT_ONCE

    def data_received(self, data: bytes) -> None:
        begins = self.is_between_requests
        try:
            super().data_received(data)
        except Exception:  # the client breaks HTTP where uvicorn cannot answer any more
            self._give_up()
            return
        if begins or self.is_between_requests or (self.is_answered and self.cycle.more_body):
            self.since = self.loop.time()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        self._has_shown_itself = self.may_use_the_server
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.refuse(ApiError(400, "the request is no valid HTTP"))

    def shutdown(self) -> None:
        """The server stops: answers go on, all else ends. The application refuses unfinished bodies."""
        if self.is_answered:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    # ---- called by the server ----

    def check(self, now: float, limits: ConnectionLimits) -> None:
        """Ends the connection where its client takes too long; now: as the event loop counts."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread < self._unread:
            self._taken_at = now
        self._unread = unread
        if unread and now - self._taken_at > limits.unread:
            self._give_up()
        elif not self.transport.is_closing() and not self.is_answered:
            is_idle = self.is_between_requests
            if now - self.since > (limits.idle if is_idle and self.may_use_the_server else limits.headers):
                if is_idle:
                    self.transport.close()
                else:
                    self.refuse(ApiError(408, "the request did not come in time; send it again"))

    def refuse(self, error: ApiError) -> None:
        """Answers with an error where that is possible still, and closes."""
        body = json.dumps(error_body(error, self.scope["path"] if self.scope is not None else "")).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        reason = HTTPStatus(error.status).phrase
        response = h11.Response(status_code=error.status, headers=headers, reason=reason)
        events = [response, h11.Data(body), h11.EndOfMessage()]
        try:
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer has begun already
            self._give_up()
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that it sends no second answer
        self.transport.close()

    def _give_up(self) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()


def make_room(connections: Collection[Connection], most: int) -> bool:
    """Closes a connection if there are `most`, or strangers have half of them: a stranger's first, and of these the one
    that has taken longest. False where none can be closed, because all of them wait for answers."""
    if len(connections) < most // 2:
        return True
    strangers = [one for one in connections if not one.may_use_the_server]
    if len(connections) < most and len(strangers) < max(1, most // 2):
        return True
    candidates = strangers or [one for one in connections if one.awaits_client]
    if not candidates:
        return False
    min(candidates, key=lambda one: (one.is_answered, one.since)).transport.abort()
    return True
