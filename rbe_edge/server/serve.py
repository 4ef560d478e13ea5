"""Runs the application with uvicorn until it is told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbe_edge.errors import MissingExtra, OptionError, RbeError

if TYPE_CHECKING:
    from starlette.applications import Starlette


@dataclass(frozen=True)
class Place:
    """Where to listen. port 0: any free one. stop_seconds: how long running answers may take after a stop."""

    host: str = "127.0.0.1"
    port: int = 8080
    stop_seconds: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise OptionError(f"the port must be from 0 (any free one) to 65535, not {self.port}")
        if not 0 <= self.stop_seconds <= 3600:
            raise OptionError(f"the time to stop must be from 0 to 3600 seconds, not {self.stop_seconds}")

    @property
    def local(self) -> bool:
        """Reachable from this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_key(self, api_key: str | None) -> None:
        """Raises OptionError where anybody in the network could use the server."""
        if api_key is not None and (not api_key.strip() or not api_key.isprintable() or not api_key.isascii()):
            raise OptionError("the API key must be printable ASCII and not empty")
        if api_key is None and not self.local:
            raise OptionError(f"binding {self.host} lets others in; give an --api-key, or bind 127.0.0.1")


def check_extra() -> None:
    """Raises MissingExtra unless starlette and uvicorn are there."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"the server needs {error.name}; install it: pip install 'rbe-edge[server]'") from None


def listen(place: Place) -> socket.socket:
    """A socket that listens, so that it is known where before the application starts. Raises RbeError."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    # With the protocol named, asyncio sends what it is given at once (TCP_NODELAY). Otherwise the system holds back a
    # piece of an answer until the one before is acknowledged, which takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((place.host, place.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise RbeError(f"cannot listen on {place.host}, port {place.port}: {reason}; try another --port") from None
    return listener


def run(app: Starlette, listener: socket.socket, place: Place, started: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM, then lets running answers end. A second signal ends them too."""
    from rbe_edge.server.connections import ConnectionLimits
    from rbe_edge.server.http_server import HttpServer

    asyncio.run(HttpServer(app, listener, place.stop_seconds, started, ConnectionLimits()).serve())
