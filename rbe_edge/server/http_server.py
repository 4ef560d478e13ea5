"""The loop of `rbe serve`: uvicorn, which accepts no more connections than there are descriptors for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from rbe_edge.machine.process import give_memory_back, spare_descriptors
from rbe_edge.server.connections import Connection, ConnectionLimits, make_room
from rbe_edge.server.log import cause_of
from rbe_edge.server.supervisor import Supervisor

_log = logging.getLogger("rbe_edge.server")
_MOST_CONNECTIONS = 500  # each may hold some 300 KB of requests that came before they were asked for
_KEPT_DESCRIPTORS = 32  # for files that are opened meanwhile, and connections that are being closed
_LOOK_SECONDS = 1.0
_TRIM_SECONDS = 60.0  # answers of many threads leave tens of megabytes that nobody uses
_END_LOOK_SECONDS = 0.02
_END_SECONDS = 5  # for answers that are ended at a stop to say so
_UNREAD_AT_STOP = 5.0  # seconds: a client that reads none of its answer does not delay a stop for longer


class HttpServer(uvicorn.Server):
    """Serves an application on a socket that listens, which it closes. started: is called once it answers. loop: the
    event loop, from then on."""

    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        stop_seconds: int,
        started: Callable[[], None],
        limits: ConnectionLimits,
    ) -> None:
        for name in ("uvicorn.error", "uvicorn.access", "asyncio"):  # the program writes its own messages
            logging.getLogger(name).setLevel(logging.CRITICAL)
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=int(limits.idle) + 1,
                timeout_graceful_shutdown=stop_seconds + _END_SECONDS,
                h11_max_incomplete_event_size=64 << 10,
            )
        )
        self._supervisor = Supervisor(app.state.is_alive)
        self._bodies, self._end_answers, self._stop_seconds = app.state.bodies, app.state.end_answers, stop_seconds
        self._listener, self._when_started, self._limits = listener, started, limits
        self._most = limits.most or max(8, min(_MOST_CONNECTIONS, spare_descriptors() - _KEPT_DESCRIPTORS))
        self._tasks: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()  # by a signal

    # ---- called by uvicorn ----

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again once it has stopped; here a stop that was asked for is no failure.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second signal
        self.should_exit = True
        if self._tasks:  # the loop runs, and may be waiting for something to happen
            self.loop.call_soon_threadsafe(self._woken.set)

    async def main_loop(self) -> None:
        """As uvicorn's, but a signal does not wait for the next tenth of a second."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864000
            await self._pause(0.1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # connections are accepted here
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_log_failure)
        self._listener.setblocking(False)
        self._tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._look())]
        self._when_started()
        self._supervisor.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        accepting, looking = self._tasks
        self._supervisor.stopping()
        accepting.cancel()
        await asyncio.wait([accepting])
        self._listener.close()
        self._bodies.stop()
        ending = self.loop.call_later(self._stop_seconds, self.loop.run_in_executor, None, self._end_answers)
        for connection in self._connections():
            connection.shutdown()
        await self._ended()
        ending.cancel()
        looking.cancel()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _ended(self) -> None:
        """When all connections are closed and all requests done, after the time that they have, or at a second signal;
        uvicorn looks for that ten times a second, and once more than it has to."""
        end = self.loop.time() + (self.config.timeout_graceful_shutdown or 0)
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit:
            if self.loop.time() > end:
                for task in self.server_state.tasks:
                    task.cancel()
                return
            await self._pause(_END_LOOK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """So long, or until a signal comes."""
        self._woken.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    # ---- tasks ----

    async def _accept(self) -> None:
        while True:
            connection: socket.socket | None = None
            try:
                connection, _ = await self.loop.sock_accept(self._listener)
                if make_room(self._connections(), self._most):
                    await self.loop.connect_accepted_socket(self._protocol, connection)
                else:
                    _log.warning("too many connections wait for answers; a new one was closed")
                    connection.close()
            except Exception as error:  # no descriptor or memory for it, or the client has gone
                if connection is not None:
                    connection.close()
                if not isinstance(error, ConnectionError):
                    _log.warning("a connection was not accepted: %s", cause_of(error))
                    make_room(self._connections(), len(self._connections()))
                    await asyncio.sleep(0.1)

    async def _look(self) -> None:
        """Ends connections that take too long, writes what is due in the log, tells the supervisor, gives freed memory
        back."""
        trim_at = self.loop.time() + _TRIM_SECONDS
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self.loop.time() >= trim_at:
                trim_at = self.loop.time() + _TRIM_SECONDS
                await self.loop.run_in_executor(None, give_memory_back)
            limits = self._limits
            if self.should_exit:
                limits = replace(limits, unread=min(limits.unread, _UNREAD_AT_STOP))
            for connection in self._connections():
                try:
                    connection.check(self.loop.time(), limits)
                except Exception as error:  # the others are looked at all the same
                    _log.error("a connection cannot be ended: %s", cause_of(error))
            for handler in _log.handlers:
                handler.flush()
            self._supervisor.look()

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    def _protocol(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _log_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What failed outside of a request. That a client has gone is no failure."""
    error = context.get("exception")
    if not isinstance(error, (ConnectionError, TimeoutError)):
        _log.error("%s: %s", context.get("message", "the event loop"), cause_of(error) if error else "no exception")
