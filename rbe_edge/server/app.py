"""The HTTP side: a Starlette application over a Service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rbe_edge.errors import Cancelled
from rbe_edge.server import chat_request
from rbe_edge.server.answers import AnswerForm, ChatForm, Choice, TextForm, event
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.fields import Fields, parse_object
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.service import Service, api_error
from rbe_edge.server.tool_calls import ToolCall, ToolCallReader, WordReader
from rbe_edge.terminal_text import one_line

_log = logging.getLogger("rbe_edge.server")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_DRAINED = 64 << 20  # bytes of a body that is too large which are read, so that the client sees the answer


@dataclass(frozen=True)
class AppOptions:
    """api_key None: none is needed. body_limit: bytes. cors_origins: web pages of these may use the server.
    local_only: bound to this machine alone: requests for other host names are refused (DNS rebinding)."""

    api_key: str | None = None
    body_limit: int = 4 << 20
    cors_origins: tuple[str, ...] = ()
    local_only: bool = True


def make_app(service: Service, options: AppOptions) -> Starlette:
    """The application. The service is closed when the application ends."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    endpoints = _Endpoints(service, options)
    routes = [
        Route("/health", endpoints.health),
        Route("/metrics", endpoints.metrics),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{model:path}", endpoints.model),
        Route("/v1/chat/completions", endpoints.chat, methods=["POST"]),
        Route("/v1/completions", endpoints.text, methods=["POST"]),
        Route("/v1/embeddings", endpoints.embeddings, methods=["POST"]),
    ]
    middleware = []
    if options.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(options.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    handlers: Any = {ApiError: _on_api_error, HTTPException: _on_http_error, Exception: _on_error}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)


def _error_response(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, headers=error.headers)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: "there is no such path", 405: "the path does not take this method"}
    return _error_response(ApiError(error.status_code, known.get(error.status_code, error.detail)))


async def _on_error(request: Request, error: Exception) -> Response:
    return _error_response(ApiError(500, "the request failed; the server's log says why"))


class _Endpoints:
    def __init__(self, service: Service, options: AppOptions) -> None:
        self._service, self._options = service, options

    # ---- about the server ----

    async def health(self, request: Request) -> Response:
        self._check_origin(request)
        stopping = self._service.scheduler.stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(self, request: Request) -> Response:
        self._check(request)
        return PlainTextResponse(self._service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def model(self, request: Request) -> Response:
        self._check(request)
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
        }

    # ---- answers ----

    async def chat(self, request: Request) -> Response:
        async def answer(fields: Fields) -> Response:
            wanted = await run_in_threadpool(chat_request.read_chat, fields)
            jobs = await run_in_threadpool(self._service.chat_jobs, wanted)
            reader = ToolCallReader if wanted.tools else WordReader
            return await self._answer(request, wanted.base, jobs, ChatForm, reader)

        return await self._counted(request, answer)

    async def text(self, request: Request) -> Response:
        async def answer(fields: Fields) -> Response:
            wanted = chat_request.read_text(fields)
            jobs = await run_in_threadpool(self._service.text_jobs, wanted)
            return await self._answer(request, wanted.base, jobs, TextForm, WordReader)

        return await self._counted(request, answer)

    async def embeddings(self, request: Request) -> Response:
        async def answer(fields: Fields) -> Response:
            wanted = chat_request.read_embedding(fields)
            vectors, tokens = await self._service.embeddings(wanted, request.is_disconnected)
            data = [
                {"object": "embedding", "index": index, "embedding": _encoded(vector, wanted.base64)}
                for index, vector in enumerate(vectors)
            ]
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            return JSONResponse({"object": "list", "data": data, "model": self._service.model_id, "usage": usage})

        return await self._counted(request, answer)

    async def _counted(self, request: Request, answer: Callable[[Fields], Awaitable[Response]]) -> Response:
        """The response, or that of the error; counted, timed and logged."""
        began = time.monotonic()
        path = request.url.path
        try:
            self._check(request)
            body = await self._body(request)
            fields = Fields(await run_in_threadpool(parse_object, body))
            response = await answer(fields)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody will read it
        except Exception as error:
            told = api_error(error)
            if told.status >= 500:
                cause = error.__cause__ or error
                _log.error("%s: %s", path, one_line(f"{type(cause).__name__}: {cause}", 300))
            response = _error_response(told)
        metrics = self._service.metrics
        metrics.count("rbe_requests_total", path=path, status=str(response.status_code))
        if not isinstance(response, StreamingResponse):
            metrics.observe("rbe_request_seconds", time.monotonic() - began)
        return response

    async def _answer(
        self,
        request: Request,
        base: chat_request.Request,
        jobs: Sequence[Job],
        form_of: type[AnswerForm],
        reader_of: type[WordReader],
    ) -> Response:
        form = form_of(self._service.model, self._service.model_id, self._service.fingerprint, base.choices)
        events = _read(self._service.start(jobs), [reader_of() for _ in jobs])
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
            if error.status >= 500:
                _log.error("stream: %s", one_line(str(error.__cause__ or error), 300))
            yield event(error.body())
        finally:  # also where Starlette notices first that the client has gone
            for job in jobs:
                job.cancel()
            watch.cancel()
            self._service.metrics.observe("rbe_request_seconds", time.monotonic() - jobs[0].arrived)

    # ---- what every request must pass ----

    def _check(self, request: Request) -> None:
        self._check_origin(request)
        key = self._options.api_key
        if key is None:
            return
        given = request.headers.get("authorization", "")
        scheme, _, token = given.partition(" ")
        # latin-1: how headers are decoded. compare_digest takes the same time wherever they differ.
        right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), key.encode("utf-8"))
        if scheme.lower() != "bearer" or not right:
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as `Authorization: Bearer KEY`",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_origin(self, request: Request) -> None:
        """A web page in a browser of this machine must not use the server unless an option allows it: neither by a
        cross-origin request, nor by resolving its own name to this machine's address (DNS rebinding)."""
        if self._options.local_only and self._options.api_key is None:
            try:
                host = urlsplit(f"//{request.headers.get('host', '')}").hostname
            except ValueError:
                host = None
            if host not in _LOCAL:
                raise ApiError(
                    403, "this server answers requests for localhost alone; start it with --api-key for others"
                )
        origin = request.headers.get("origin")
        allowed = self._options.cors_origins
        if origin is not None and "*" not in allowed and origin not in allowed:
            raise ApiError(403, "web pages of this origin may not use the server; --cors-origin allows it")

    async def _body(self, request: Request) -> bytes:
        limit = self._options.body_limit
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            elif size > limit + _DRAINED:
                break
        if size > limit:
            raise ApiError(413, f"the body is larger than {limit} bytes; shorten it", headers={"Connection": "close"})
        return b"".join(chunks)


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
