"""The HTTP side: a Starlette application over a Shelf of models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rbe_edge.server.access import Access, Cors
from rbe_edge.server.access_log import AccessLog, Write
from rbe_edge.server.api_error import ApiError
from rbe_edge.server.bodies import Bodies, BodyLimits
from rbe_edge.server.desk import Desk, error_response
from rbe_edge.server.header_limits import HeaderLimits
from rbe_edge.server.messages_routes import messages_routes
from rbe_edge.server.ollama_routes import ollama_routes
from rbe_edge.server.openai_routes import openai_routes
from rbe_edge.server.pages import page_routes
from rbe_edge.server.rerank_routes import rerank_routes
from rbe_edge.server.responses_routes import responses_routes
from rbe_edge.server.service import Service
from rbe_edge.server.shelf import Held, Shelf, file_facts
from rbe_edge.server.text_routes import text_routes


@dataclass(frozen=True)
class AppOptions:
    """api_key None: none is needed. cors_origins: web pages of these may use the server. local_only: bound to this
    machine alone: requests for other host names are refused (DNS rebinding). access_log: takes a line for each request;
    None: there are none."""

    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    local_only: bool = True
    bodies: BodyLimits = field(default_factory=BodyLimits)
    access_log: Write | None = None


def make_app(models: Service | Shelf, options: AppOptions) -> Starlette:
    """The application. models: one, or several; they are closed when the application ends. app.state.bodies: its
    Bodies; app.state.end_answers(): ends answers where they are, and takes as long as a pass. app.state.is_alive: of
    the schedulers."""
    shelf = models if isinstance(models, Shelf) else Shelf(models)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(shelf.look_after())
        yield
        looking.cancel()
        await shelf.close()

    bodies = Bodies(options.bodies)
    origins = [origin.rstrip("/") for origin in options.cors_origins]  # a browser's has no slash
    access = Access(options.api_key, origins, options.local_only)
    desk = Desk(shelf, access, bodies)
    about = _About(shelf, access)
    routes = [
        Route("/health", desk.guarded(about.health)),
        Route("/metrics", desk.checked(about.metrics)),
        Route("/v1/models", desk.checked(about.models)),
        Route("/v1/models/{model:path}", desk.checked(about.model)),
        *openai_routes(desk),
        *rerank_routes(desk),
        *responses_routes(desk),
        *messages_routes(desk),
        *ollama_routes(desk),
        *text_routes(desk),
        *page_routes(access, desk.guarded, needs_key=options.api_key is not None),
    ]
    paths = [route.path for route in routes if "{" not in route.path]

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: f"there is no such path; there are {', '.join(paths)}", 405: "the path does not take this method"}
        await bodies.discard(request)
        message = known.get(error.status_code, error.detail)
        found = ApiError(error.status_code, message, headers=error.headers)  # 405 has an Allow
        return error_response(found, request.url.path)

    middleware = [Middleware(HeaderLimits, bodies=bodies)]  # the innermost: pages may read its errors
    if origins:
        middleware.insert(0, Middleware(Cors, origins=origins))
    if options.access_log is not None:
        middleware.insert(0, Middleware(AccessLog, routes=routes, write=options.access_log))
    handlers: Any = {HTTPException: on_http_error}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)
    app.state.bodies, app.state.end_answers, app.state.is_alive = bodies, shelf.end_answers, shelf.is_alive
    return app


class _About:
    """What the server says of itself and its models."""

    def __init__(self, shelf: Shelf, access: Access) -> None:
        self._shelf, self._access = shelf, access

    async def health(self, request: Request) -> Response:
        """Whether the server answers."""
        self._access.check_page(request)
        stopping = self._shelf.stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(self, request: Request) -> Response:
        """Numbers for Prometheus."""
        text = await run_in_threadpool(self._shelf.first.metrics_text)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        """The models that may be asked for."""
        found = await self._shelf.described_all()
        return JSONResponse({"object": "list", "data": [await _told(*one) for one in found]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        return JSONResponse(await _told(*await self._shelf.described(request.path_params["model"])))


async def _told(name: str, path: Path, held: Held | None) -> dict[str, object]:
    found: dict[str, object] = {"id": name, "object": "model", "owned_by": "rbe_edge"}
    if held is None:
        created, _ = await run_in_threadpool(lambda: file_facts(path))
        return {**found, "created": created}
    service = held.service
    found |= {"created": service.created, "context_length": service.scheduler.context}
    return found if service.modes is None else {**found, "power_modes": service.modes}
