"""What all endpoints do with a request: check it, read it, give it a model, answer, count."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rbe_edge.errors import Cancelled
from rbe_edge.server.access import Access
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.bodies import Bodies
from rbe_edge.server.error_forms import error_body
from rbe_edge.server.fields import Fields, parse_object
from rbe_edge.server.forms import Choice, Form, Json, Parts
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.known_errors import api_error
from rbe_edge.server.log import cause_of
from rbe_edge.server.shelf import Lease, Shelf
from rbe_edge.server.tool_calls import WordReader

_log = logging.getLogger("rbe_edge.server")
_READERS = 2  # requests that are understood at a time: JSON takes many times its bytes meanwhile

_Wanted = TypeVar("_Wanted")

#: What a request asks of the model that it names, from its fields; on another thread.
Read = Callable[[Fields, Lease], _Wanted]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Asked:
    """Answers that are wanted: what is left of a request, which may have been large. readers: one for each job."""

    jobs: Sequence[Job]
    form: Form
    readers: Sequence[WordReader]
    stream: bool
    headers: Mapping[str, str] = field(default_factory=dict)


class Desk:
    """Use on one event loop."""

    def __init__(self, shelf: Shelf, access: Access, bodies: Bodies) -> None:
        self.shelf, self.access = shelf, access
        self._bodies = bodies
        self._reading = asyncio.Semaphore(_READERS)

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, with its errors as responses."""

        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Exception as error:
                return told(request, error)

        return answer

    def checked(self, endpoint: Endpoint) -> Endpoint:
        """The same for who may use the server alone."""

        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            self.access.check(request)
            return await endpoint(request)

        return self.guarded(answer)

    def counted(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, with its errors as responses; counted, timed and logged."""

        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            began = time.monotonic()
            try:
                response = await endpoint(request)
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody will read it
            except Exception as error:
                response = told(request, error)
            metrics = self.shelf.metrics
            metrics.count("rbe_requests_total", path=request.url.path, status=str(response.status_code))
            if not isinstance(response, StreamingResponse):
                metrics.observe("rbe_request_seconds", time.monotonic() - began)
            return response

        return answer

    def answering(self, read: Read[Asked | Json]) -> Endpoint:
        """An endpoint that answers what `read` finds is asked, or what it says itself."""

        async def answer(request: Request) -> Response:
            lease, asked = await self.wanted(request, read)
            try:
                if isinstance(asked, Asked):
                    return await self._answer(request, lease, asked)
                lease.release()
                return JSONResponse(asked)
            except BaseException:
                lease.release()
                raise

        answer.__doc__ = read.__doc__
        return self.counted(answer)

    def telling(self, read: Read[_Wanted], tell: Callable[[Request, Lease, _Wanted], Awaitable[Response]]) -> Endpoint:
        """An endpoint that tells at once what `read` asks for."""

        async def answer(request: Request) -> Response:
            lease, wanted = await self.wanted(request, read)
            try:
                return await tell(request, lease, wanted)
            finally:
                lease.release()

        answer.__doc__ = read.__doc__
        return self.counted(answer)

    async def fields(self, request: Request) -> Fields:
        """The body of a request that needs no model. Raises ApiError."""
        await self._may_use(request)
        async with self._bodies.read(request) as body, self._reading:
            return await run_in_threadpool(lambda: Fields(parse_object(body)))

    async def wanted(self, request: Request, read: Read[_Wanted]) -> tuple[Lease, _Wanted]:
        """The model that a request names, which the caller releases, and what it asks for, if it may."""
        await self._may_use(request)
        async with self._bodies.read(request) as body:
            async with self._reading:
                fields = await run_in_threadpool(lambda: Fields(parse_object(body)))
                name = fields.text("model") or None
                lease = self.shelf.at_hand(name)
                if lease is not None:
                    return lease, await self._read(read, fields, lease)
            del fields  # opening a model takes long, and what was read takes many times its bytes
            lease = await self.shelf.lease(name)
            async with self._reading:
                fields = await run_in_threadpool(lambda: Fields(parse_object(body)))
                return lease, await self._read(read, fields, lease)

    async def _read(self, read: Read[_Wanted], fields: Fields, lease: Lease) -> _Wanted:
        try:
            return await run_in_threadpool(lambda: read(fields, lease))
        except BaseException:
            lease.release()
            raise

    async def _may_use(self, request: Request) -> None:
        try:
            self.access.check(request)
        except ApiError:
            await self._bodies.discard(request)
            raise

    async def _answer(self, request: Request, lease: Lease, asked: Asked) -> Response:
        """Releases the lease when the answer has been sent."""
        jobs = asked.jobs
        events = _read(lease.service.start(jobs), asked.readers)
        headers = {"Cache-Control": "no-store", **asked.headers, **_clamped(jobs)}
        if asked.stream:
            return _Streaming(self._stream(request, events, jobs, asked.form), asked.form.media_type, headers, lease)
        watch = asyncio.create_task(_cancel_when_gone(request, jobs))
        work = asyncio.create_task(_collect(events, len(jobs)))
        try:
            await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect()
            choices = work.result()
        finally:
            for job in jobs:
                job.cancel()
            watch.cancel()
            work.cancel()
        response = JSONResponse(asked.form.whole(choices), headers=headers)
        lease.release()
        return response

    async def _stream(
        self, request: Request, events: AsyncIterator[_Event], jobs: Sequence[Job], form: Form
    ) -> AsyncIterator[bytes]:
        watch = asyncio.create_task(_cancel_when_gone(request, jobs))
        choices = [Choice() for _ in jobs]
        try:
            for data in form.opening(jobs):
                yield data
            async for index, parts, one in events:
                scores = () if isinstance(one, Finish) else one.scores
                if any(parts) or scores:
                    for data in form.piece(index, parts, scores):
                        yield data
                if isinstance(one, Finish):
                    choices[index].finish = one
                    for data in form.ending(index, one):
                        yield data
            for data in form.closing(choices):
                yield data
        except ApiError as error:
            if error.status == 500:
                _log.error("stream: %s", cause_of(error))
            for data in form.failure(error):
                yield data
        finally:  # also where Starlette notices first that the client has gone
            for job in jobs:
                job.cancel()
            watch.cancel()
            self.shelf.metrics.observe("rbe_request_seconds", time.monotonic() - jobs[0].arrived)


class _Streaming(StreamingResponse):
    """Releases a lease when it has been sent, or nobody takes it any more."""

    def __init__(self, body: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str], lease: Lease) -> None:
        super().__init__(body, media_type=media_type, headers=headers)
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._lease.release()


def told(request: Request, error: Exception) -> Response:
    """The response to an error; what the client did not cause is in the log."""
    found = api_error(error)
    if found.status == 500:
        place = "/".join(request.url.path.split("/")[:3])  # further parts are the client's own
        _log.error("%s: %s", place, cause_of(error))
    return error_response(found, request.url.path)


def error_response(error: ApiError, path: str) -> Response:
    """For a request for that path."""
    return JSONResponse(error_body(error, path), error.status, headers=error.headers)


def _clamped(jobs: Sequence[Job]) -> dict[str, str]:
    limits = [job.max_tokens for job in jobs if job.clamped and job.max_tokens is not None]
    return {"X-Max-Tokens-Clamped": str(min(limits))} if limits else {}


#: Of which answer, what it says, and what the scheduler told.
_Event = tuple[int, Parts, Piece | Finish]


async def _read(
    events: AsyncIterator[tuple[int, Piece | Finish]], readers: Sequence[WordReader]
) -> AsyncIterator[_Event]:
    async for index, one in events:
        reader = readers[index]
        yield index, reader.finish() if isinstance(one, Finish) else reader.push(one.text), one


async def _collect(events: AsyncIterator[_Event], count: int) -> list[Choice]:
    choices = [Choice() for _ in range(count)]
    async for index, parts, one in events:
        choices[index].parts += parts
        if isinstance(one, Finish):
            choices[index].finish = one
        else:
            choices[index].scores += one.scores
    return choices


async def _cancel_when_gone(request: Request, jobs: Sequence[Job]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    for job in jobs:
        job.cancel()
        job.tell(Cancelled("the client went away"))  # it may still wait for a slot
