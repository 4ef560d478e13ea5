"""The HTTP side: a Starlette application over a Service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rbe_edge.errors import Cancelled
from rbe_edge.server import chat_request
from rbe_edge.server.access import Access, Cors
from rbe_edge.server.answers import AnswerForm, ChatForm, Choice, TextForm, event
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.bodies import Bodies, BodyLimits
from rbe_edge.server.fields import Fields, parse_object
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.log import cause_of
from rbe_edge.server.pages import page_routes
from rbe_edge.server.service import Service, api_error
from rbe_edge.server.tool_calls import ToolCall, ToolCallReader, WordReader

_log = logging.getLogger("rbe_edge.server")
_READERS = 2  # requests that are understood at a time: JSON takes many times its bytes meanwhile

_Wanted = TypeVar("_Wanted")


@dataclass(frozen=True)
class AppOptions:
    """api_key None: none is needed. cors_origins: web pages of these may use the server. local_only: bound to this
    machine alone: requests for other host names are refused (DNS rebinding)."""

    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    local_only: bool = True
    bodies: BodyLimits = field(default_factory=BodyLimits)


def make_app(service: Service, options: AppOptions) -> Starlette:
    """The application. The service is closed when the application ends. app.state.bodies: its Bodies;
    app.state.end_answers(): ends answers where they are, and takes as long as a pass. app.state.is_alive: of the
    scheduler."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    bodies = Bodies(options.bodies)
    origins = [origin.rstrip("/") for origin in options.cors_origins]  # a browser's has no slash
    access = Access(options.api_key, origins, options.local_only)
    endpoints = _Endpoints(service, access, bodies)
    routes = [
        Route("/health", _guarded(endpoints.health)),
        Route("/metrics", _guarded(endpoints.metrics)),
        Route("/v1/models", _guarded(endpoints.models)),
        Route("/v1/models/{model:path}", _guarded(endpoints.model)),
        Route("/v1/chat/completions", endpoints.chat, methods=["POST"]),
        Route("/v1/completions", endpoints.text, methods=["POST"]),
        Route("/v1/embeddings", endpoints.embeddings, methods=["POST"]),
        *page_routes(access, _guarded, needs_key=options.api_key is not None),
    ]

    paths = [route.path for route in routes if "{" not in route.path]

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: f"there is no such path; there are {', '.join(paths)}", 405: "the path does not take this method"}
        await bodies.discard(request)
        message = known.get(error.status_code, error.detail)
        return _error_response(ApiError(error.status_code, message, headers=error.headers))  # 405 has an Allow

    middleware = [Middleware(Cors, origins=origins)] if origins else []
    handlers: Any = {HTTPException: on_http_error}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)
    app.state.bodies, app.state.end_answers, app.state.is_alive = bodies, service.close, service.scheduler.is_alive
    return app


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with its errors as responses."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:
            return _told(request, error)

    return answer


def _told(request: Request, error: Exception) -> Response:
    """The response to an error; what the client did not cause is in the log."""
    told = api_error(error)
    if told.status == 500:
        place = "/".join(request.url.path.split("/")[:3])  # further parts are the client's own
        _log.error("%s: %s", place, cause_of(error))
    return _error_response(told)


def _error_response(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, headers=error.headers)


@dataclass(frozen=True)
class _Asked:
    """A completion that is wanted: what is left of its request, which may have been large."""

    base: chat_request.Request
    jobs: Sequence[Job]
    form: type[AnswerForm]
    reader: type[WordReader]


class _Endpoints:
    def __init__(self, service: Service, access: Access, bodies: Bodies) -> None:
        self._service, self._access, self._bodies = service, access, bodies
        self._reading = asyncio.Semaphore(_READERS)

    # ---- about the server ----

    async def health(self, request: Request) -> Response:
        self._access.check_page(request)
        stopping = self._service.scheduler.stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(self, request: Request) -> Response:
        self._access.check(request)
        text = await run_in_threadpool(self._service.metrics_text)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        self._access.check(request)
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def model(self, request: Request) -> Response:
        self._access.check(request)
        self._service.check_model(request.path_params["model"])
        return JSONResponse(self._described())

    def _described(self) -> dict[str, object]:
        service = self._service
        return {
            "id": service.model_id,
            "object": "model",
            "created": service.created,
            "owned_by": "rbe_edge",
            "context_length": service.scheduler.context,
            **({} if service.modes is None else {"power_modes": service.modes}),
        }

    # ---- answers ----

    async def chat(self, request: Request) -> Response:
        def read(fields: Fields) -> _Asked:
            wanted = chat_request.read_chat(fields)
            reader = ToolCallReader if wanted.tools else WordReader
            return _Asked(wanted.base, self._service.chat_jobs(wanted), ChatForm, reader)

        return await self._counted(request, read, self._answer)

    async def text(self, request: Request) -> Response:
        def read(fields: Fields) -> _Asked:
            wanted = chat_request.read_text(fields)
            return _Asked(wanted.base, self._service.text_jobs(wanted), TextForm, WordReader)

        return await self._counted(request, read, self._answer)

    async def embeddings(self, request: Request) -> Response:
        def read(fields: Fields) -> tuple[Sequence[Sequence[int]], bool]:
            wanted = chat_request.read_embedding(fields)
            return self._service.embedding_inputs(wanted), wanted.base64

        async def answer(request: Request, wanted: tuple[Sequence[Sequence[int]], bool]) -> Response:
            inputs, as_base64 = wanted
            vectors = await self._service.embeddings(inputs, request.is_disconnected)
            data = [
                {"object": "embedding", "index": index, "embedding": _encoded(vector, as_base64)}
                for index, vector in enumerate(vectors)
            ]
            tokens = sum(map(len, inputs))
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            return JSONResponse({"object": "list", "data": data, "model": self._service.model_id, "usage": usage})

        return await self._counted(request, read, answer)

    async def _counted(
        self,
        request: Request,
        read: Callable[[Fields], _Wanted],
        answer: Callable[[Request, _Wanted], Awaitable[Response]],
    ) -> Response:
        """The response, or that of the error; counted, timed and logged. read: on another thread."""
        began = time.monotonic()
        try:
            response = await answer(request, await self._wanted(request, read))
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody will read it
        except Exception as error:
            response = _told(request, error)
        metrics = self._service.metrics
        metrics.count("rbe_requests_total", path=request.url.path, status=str(response.status_code))
        if not isinstance(response, StreamingResponse):
            metrics.observe("rbe_request_seconds", time.monotonic() - began)
        return response

    async def _wanted(self, request: Request, read: Callable[[Fields], _Wanted]) -> _Wanted:
        """What a request asks for, if it may."""
        try:
            self._access.check(request)
        except ApiError:
            await self._bodies.discard(request)
            raise
        async with self._bodies.read(request) as body, self._reading:
            return await run_in_threadpool(lambda: read(Fields(parse_object(body))))

    async def _answer(self, request: Request, asked: _Asked) -> Response:
        base, jobs = asked.base, asked.jobs
        form = asked.form(self._service.model, self._service.model_id, self._service.fingerprint, base.choices)
        events = _read(self._service.start(jobs), [asked.reader() for _ in jobs])
        if base.stream:
            body = self._stream(request, events, jobs, form, base.include_usage)
            return StreamingResponse(body, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
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
        return JSONResponse(form.whole(choices, base.top_logprobs is not None))

    async def _stream(
        self,
        request: Request,
        events: AsyncIterator[_Event],
        jobs: Sequence[Job],
        form: AnswerForm,
        include_usage: bool,
    ) -> AsyncIterator[bytes]:
        watch = asyncio.create_task(_cancel_when_gone(request, jobs))
        choices = [Choice() for _ in jobs]
        try:
            for index in range(len(jobs)):
                first = form.first_chunk(index)
                if first is not None:
                    yield event(first)
            async for index, parts, one in events:
                scores = () if isinstance(one, Finish) else one.scores
                if any(parts) or scores:
                    yield event(form.chunk(index, parts, scores))
                if isinstance(one, Finish):
                    choices[index].finish = one
                    yield event(form.last_chunk(index, one))
            if include_usage:
                yield event(form.usage_chunk(choices))
            yield b"data: [DONE]\n\n"
        except ApiError as error:
            if error.status == 500:
                _log.error("stream: %s", cause_of(error))
            yield event(error.body())
        finally:  # also where Starlette notices first that the client has gone
            for job in jobs:
                job.cancel()
            watch.cancel()
            self._service.metrics.observe("rbe_request_seconds", time.monotonic() - jobs[0].arrived)


#: Of which answer, what it says, and what the scheduler told.
_Event = tuple[int, list[str | ToolCall], Piece | Finish]


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


def _encoded(vector: list[float], as_base64: bool) -> list[float] | str:
    """OpenAI's base64 is of little-endian float32."""
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
