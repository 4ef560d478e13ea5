"""The models of a server: which there are, which are in memory, and which go where room is needed.

A model is opened when a request asks for it. Where the memory limit would be passed, models go that nobody uses, the
one first that was used longest ago. The model that the server was started with stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from starlette.concurrency import run_in_threadpool

from rbe_edge.errors import RbeError
from rbe_edge.server.api_error import ApiError, wrong
from rbe_edge.server.log import cause_of

if TYPE_CHECKING:
    from rbe_edge.server.service import Service

_log = logging.getLogger("rbe_edge.server")
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 5
_MOST_NAMES = 20  # of an error's message
_BITS = re.compile(r"-(\d{1,2}(?:\.\d{1,4})?bit)$")


class Stock(Protocol):
    """Where models come from. Its methods take time and are called off the event loop."""

    def paths(self) -> Mapping[str, Path]:
        """The files that there are now, by the names of their models."""

    def opened(self, name: str, path: Path) -> AbstractContextManager[Service]:
        """A service of that model, which the end of the context frees with all that it has. Raises RbeError."""

    def bytes_of(self, path: Path) -> int:
        """What it will take of the memory limit. Raises RbeError."""


@dataclass(eq=False)
class Held:
    """A model in memory. stack: frees it; None for the one that stays. n_bytes: of the memory limit. users: requests
    that need it now. used_at: by time.monotonic(). keeps: seconds after that until it goes; infinity: while there is
    room. file: as file_facts() found it."""

    service: Service
    stack: contextlib.ExitStack | None
    n_bytes: int
    users: int = 0
    used_at: float = 0.0
    keeps: float = math.inf
    file: tuple[int, int] = (0, 0)

    @property
    def can_go(self) -> bool:
        return self.stack is not None and self.users == 0

    @property
    def must_go(self) -> bool:
        """Its file is another one by now, or its scheduler has failed. Touches the disk."""
        return self.can_go and (file_facts(self.service.path) != self.file or self.service.scheduler.stopping)


class Lease:
    """A model that stays in memory until release(). load_seconds: what opening it took this request."""

    def __init__(self, held: Held, load_seconds: float) -> None:
        self._held: Held | None = held
        self.service = held.service
        self.load_seconds = load_seconds
        held.users += 1
        held.used_at = time.monotonic()

    def keep(self, seconds: float) -> None:
        """How long the model stays after the last request; infinity: as long as there is room."""
        if self._held is not None:
            self._held.keeps = seconds

    def release(self) -> None:
        """Releasing twice is allowed."""
        held, self._held = self._held, None
        if held is not None:
            held.users -= 1
            held.used_at = time.monotonic()

    def __del__(self) -> None:
        self.release()


class Shelf:
    """Use on one event loop."""

    def __init__(self, first: Service, stock: Stock | None = None, most_bytes: int = 0, first_bytes: int = 0) -> None:
        """first: a model that stays; the caller closes it. stock: of further ones, which may take most_bytes together
        with it. first_bytes: what the first takes of that."""
        self.first = first
        self.metrics = first.metrics
        self._stock, self._most = stock, most_bytes
        self._held: dict[str, Held] = {first.model_id: Held(first, None, first_bytes)}
        self._opening = asyncio.Lock()
        self._is_stopping = False

    # ---- which there are ----

    async def described_all(self) -> list[tuple[str, Path, Held | None]]:
        """Name, file and place in memory of all models that may be asked for, the first one first."""
        paths = await self._paths()
        held = [(name, one.service.path, one) for name, one in self._held.items()]
        return [*held, *((name, paths[name], None) for name in sorted(paths) if name not in self._held)]

    async def described(self, name: str) -> tuple[str, Path, Held | None]:
        """The model that a name means, its file, and where it is in memory. Raises ApiError."""
        found = self._in_memory(name)
        if found is not None:
            return found.service.model_id, found.service.path, found
        known, path = await self._in_stock(name)
        return known, path, self._held.get(known)

    @property
    def in_memory(self) -> Mapping[str, Held]:
        return dict(self._held)

    @property
    def stopping(self) -> bool:
        return self._is_stopping or self.first.scheduler.stopping

    def is_alive(self, seconds: float) -> bool:
        """Whether every model in memory gets on; see Scheduler.is_alive."""
        return all(held.service.scheduler.is_alive(seconds) for held in list(self._held.values()))

    # ---- requests ----

    def at_hand(self, name: str | None) -> Lease | None:
        """The model without waiting; None where it must be looked for first. name: None means the only one."""
        if name is None:
            found = self._held[self.first.model_id] if self._stock is None else None
        else:
            found = self._in_memory(name)
        return None if found is None or found.must_go else Lease(found, 0.0)

    async def lease(self, name: str | None) -> Lease:
        """The model that a request names, opened where it is not in memory. Raises ApiError; without a name where
        there are several."""
        if name is None and len(await self.described_all()) > 1:
            raise wrong("model", "`model` is missing, and this server has several; GET /v1/models lists them")
        lease = self.at_hand(name or self.first.model_id)
        if lease is not None:
            return lease
        assert name is not None
        known, path = await self._in_stock(name)
        began = time.monotonic()
        async with self._opening:
            held = self._held.get(known)
            if held is not None and held.must_go:
                await self._close(known)
                held = None
                known, path = await self._in_stock(name)  # its file may have gone
            if held is None:
                held = await self._open(known, path)
            return Lease(held, time.monotonic() - began)

    async def unload(self, name: str) -> str:
        """Lets the model go as soon as nobody uses it. Its name. Raises ApiError where there is no such model."""
        known, _, held = await self.described(name)
        if held is not None and held.stack is not None:
            held.keeps = 0.0
            await self._close_due()
        return known

    async def look_after(self) -> None:
        """Lets models go whose time is over, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._close_due()

    async def close(self) -> None:
        """Ends all answers and frees all models but the first, which its owner frees."""
        self._is_stopping = True
        async with self._opening:
            for name, held in list(self._held.items()):
                if held.stack is not None:
                    await self._close(name)
        await run_in_threadpool(self.first.close)

    def end_answers(self) -> None:
        """Ends answers where they are. Any thread; takes as long as a pass."""
        self._is_stopping = True
        for held in list(self._held.values()):
            held.service.close()

    # ---- inside ----

    def _in_memory(self, name: str) -> Held | None:
        for form in _forms(name):
            if form in self.first.names:
                return self._held[self.first.model_id]
            if form in self._held:
                return self._held[form]
        return None

    async def _paths(self) -> Mapping[str, Path]:
        return {} if self._stock is None else await run_in_threadpool(self._stock.paths)

    async def _in_stock(self, name: str) -> tuple[str, Path]:
        """As described(), of a name that is not in memory by itself."""
        in_stock = await self._paths()
        paths = {**in_stock, self.first.model_id: self.first.path}
        known = next((one for one in _forms(name) if one in paths), None)
        if known is None:  # a name without what stands behind `:`, where it is one model's
            alike = [one for one in paths if one.rpartition(":")[0] in _forms(name)]
            known = alike[0] if len(alike) == 1 else None
        if known is None:
            names = list(dict.fromkeys([*self._held, *sorted(in_stock)]))
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            there = ", ".join(repr(one) for one in names[:_MOST_NAMES])
            message = f"the model {name[:100]!r} does not exist; this server has {there}{more}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return known, paths[known]

    async def _open(self, name: str, path: Path) -> Held:
        assert self._stock is not None
        stock, stack = self._stock, contextlib.ExitStack()
        if self.stopping:
            raise ApiError(503, "the server is stopping")
        facts = file_facts(path)
        try:
            needed = await run_in_threadpool(stock.bytes_of, path)
            await self._make_room(name, needed)
            service = await run_in_threadpool(lambda: stack.enter_context(stock.opened(name, path)))
        except FileNotFoundError as error:
            raise ApiError(
                404, f"the file of the model {name[:100]!r} has just gone", param="model", code="model_not_found"
            ) from error
        except RbeError as error:
            raise ApiError(500, f"the model {name!r} cannot be opened; the server's log says why") from error
        held = self._held[name] = Held(service, stack, needed, used_at=time.monotonic(), file=facts)
        return held

    async def _make_room(self, name: str, needed: int) -> None:
        """Raises ApiError where the models in use leave too little."""
        while self._most and sum(held.n_bytes for held in self._held.values()) + needed > self._most:
            idle = [one for one, held in self._held.items() if held.can_go]
            if idle:
                await self._close(min(idle, key=lambda one: self._held[one].used_at))
                continue
            waits = any(held.stack is not None for held in self._held.values())
            message = f"the model {name!r} needs {needed >> 20} MiB; all models may take {self._most >> 20} MiB"
            if waits:
                message = f"other models answer and leave no room for {name!r}; try again"
            raise ApiError(503, message, headers={"Retry-After": str(_RETRY_SECONDS)} if waits else None)

    async def _close_due(self) -> None:
        async with self._opening:
            now = time.monotonic()
            for name, held in list(self._held.items()):
                if held.can_go and held.used_at + held.keeps <= now:
                    await self._close(name)

    async def _close(self, name: str) -> None:
        held = self._held.pop(name)
        assert held.stack is not None
        try:
            await run_in_threadpool(held.stack.close)
        except Exception as error:  # the others go on
            _log.error("the model %s could not be closed: %s", name, cause_of(error))


def file_facts(path: Path) -> tuple[int, int]:
    """When it was changed, in seconds since 1970, and its bytes; 0 where it has gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return int(found.st_mtime), found.st_size


def _forms(name: str) -> list[str]:
    """What a client's name may stand for, the likeliest first: Ollama's clients add `:latest`, others write the name of
    the file."""
    plain = name.removesuffix(":latest")
    forms = (name, plain, plain.removesuffix(".rbe"))
    return list(dict.fromkeys([*forms, *(_BITS.sub(r":\1", form) for form in forms)]))
