"""Ollama's endpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge._version import __version__
from rbe_edge.runtime.encoder_texts import TokenText
from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import TextRequest, inputs_of
from rbe_edge.server.desk import Asked, Desk
from rbe_edge.server.embedding_request import MOST_DIMENSIONS, EmbeddingRequest, pooling_of
from rbe_edge.server.fields import Fields
from rbe_edge.server.forms import Json
from rbe_edge.server.job import Job
from rbe_edge.server.ollama_form import OllamaForm
from rbe_edge.server.ollama_models import listed, running, shown
from rbe_edge.server.ollama_request import OllamaRequest, keep_alive, read_chat, read_generate
from rbe_edge.server.shelf import Lease
from rbe_edge.server.text_numbers import shortened
from rbe_edge.server.tool_calls import ThoughtReader, ToolCallReader, WordReader


def ollama_routes(desk: Desk) -> list[Route]:
    about = _About(desk)
    return [
        Route("/api/chat", desk.answering(_chat), methods=["POST"]),
        Route("/api/generate", desk.answering(_generate), methods=["POST"]),
        Route("/api/embed", desk.telling(_inputs, _embedded), methods=["POST"]),
        Route("/api/embeddings", desk.telling(_prompt, _embedded_alone), methods=["POST"]),
        Route("/api/tags", desk.checked(about.tags)),
        Route("/api/ps", desk.checked(about.running)),
        Route("/api/version", desk.checked(about.version)),
        Route("/api/show", desk.counted(about.show), methods=["POST"]),
    ]


def _chat(fields: Fields, lease: Lease) -> Asked | Json:
    """An answer to a conversation, as Ollama tells it."""
    asked = read_chat(fields)
    form = _form(fields, lease, asked, is_chat=True)
    if not asked.chat.messages:
        return _without_answer(form, asked)
    jobs = lease.service.chat_jobs(asked.chat)
    return Asked(jobs, form, _readers(lease, asked, jobs), asked.stream)


def _generate(fields: Fields, lease: Lease) -> Asked | Json:
    """An answer to a prompt, as Ollama tells it."""
    wanted = read_generate(fields)
    asked, service = wanted.asked, lease.service
    form = _form(fields, lease, asked, is_chat=False)
    if not wanted.prompt and wanted.suffix is None:
        return _without_answer(form, asked)
    if wanted.suffix is None and not wanted.raw:
        jobs = service.chat_jobs(asked.chat)
        return Asked(jobs, form, _readers(lease, asked, jobs), asked.stream)
    if asked.chat.grammar is not None:
        raise wrong("format", "`format` needs a prompt that goes through the model's template")
    jobs = service.text_jobs(TextRequest(asked.chat.base, (wanted.prompt,), wanted.suffix))
    return Asked(jobs, form, [WordReader()], asked.stream)


def _form(fields: Fields, lease: Lease, asked: OllamaRequest, *, is_chat: bool) -> OllamaForm:
    if asked.think and not lease.service.template.knows_thoughts:
        raise wrong("think", f"{lease.service.model_id!r} does not support thinking")
    if asked.keep is not None:
        lease.keep(asked.keep)
    return OllamaForm(
        lease.service, fields.text("model") or lease.service.model_id, lease.load_seconds, is_chat=is_chat
    )


def _readers(lease: Lease, asked: OllamaRequest, jobs: Sequence[Job]) -> list[WordReader]:
    inner = ToolCallReader() if asked.chat.tools else WordReader()
    if asked.think is False or asked.chat.grammar is not None or not lease.service.template.knows_thoughts:
        return [inner]
    return [ThoughtReader(inner, lease.service.opens_thought(jobs[0]))]


def _without_answer(form: OllamaForm, asked: OllamaRequest) -> Json:
    return form.without_answer("unload" if asked.keep == 0 else "load")


# ---- embeddings ----


@dataclass(frozen=True)
class _Wanted:
    request: EmbeddingRequest
    texts: Sequence[TokenText]
    name: str


def _inputs(fields: Fields, lease: Lease) -> _Wanted:
    """A vector for each text, as Ollama tells it."""
    return _embedding(fields, lease, "input")


def _prompt(fields: Fields, lease: Lease) -> _Wanted:
    """The vector of a text, as Ollama once told it."""
    fields.required_text("prompt")
    return _embedding(fields, lease, "prompt")


def _embedding(fields: Fields, lease: Lease, name: str) -> _Wanted:
    keep = keep_alive(fields)
    if keep is not None:
        lease.keep(keep)
    options = fields.object("options")
    request = EmbeddingRequest(
        tuple(inputs_of(fields, name)),
        dimensions=fields.whole("dimensions", 0, MOST_DIMENSIONS) or None,
        pooling=None if options is None else pooling_of(options),
        cut=_cuts(fields),
    )
    texts = lease.service.texts.inputs(request, name)
    return _Wanted(request, texts, fields.text("model") or lease.service.model_id)


def _cuts(fields: Fields) -> bool:
    """Whether a text that is too long is cut; Ollama does unless it is told not to."""
    return fields.raw("truncate") is None or fields.flag("truncate")


async def _embedded(request: Request, lease: Lease, wanted: _Wanted) -> Response:
    began = time.monotonic()
    vectors = await _vectors(request, lease, wanted)
    took = time.monotonic() - began + lease.load_seconds
    return JSONResponse(
        {
            "model": wanted.name,
            "embeddings": vectors,
            "total_duration": round(took * 1e9),
            "load_duration": round(lease.load_seconds * 1e9),
            "prompt_eval_count": sum(len(text.tokens) for text in wanted.texts),
        }
    )


async def _embedded_alone(request: Request, lease: Lease, wanted: _Wanted) -> Response:
    (vector,) = await _vectors(request, lease, wanted)
    return JSONResponse({"embedding": vector})


async def _vectors(request: Request, lease: Lease, wanted: _Wanted) -> list[list[float]]:
    asked = wanted.request
    found = await lease.service.texts.numbers(wanted.texts, asked.pooling, request.is_disconnected)
    return [shortened(vector, asked.dimensions) for vector in found]


# ---- models ----


class _About:
    def __init__(self, desk: Desk) -> None:
        self._desk, self._shelf = desk, desk.shelf

    async def tags(self, request: Request) -> Response:
        """The models that may be asked for."""
        found = await self._shelf.described_all()
        return JSONResponse({"models": await run_in_threadpool(lambda: [listed(*one) for one in found])})

    async def running(self, request: Request) -> Response:
        """The models in memory."""
        held = self._shelf.in_memory
        return JSONResponse(
            {"models": await run_in_threadpool(lambda: [running(name, one) for name, one in held.items()])}
        )

    async def version(self, request: Request) -> Response:
        """The version of this server."""
        return JSONResponse({"version": __version__})

    async def show(self, request: Request) -> Response:
        """What a model says of itself."""
        fields = await self._desk.fields(request)
        name = fields.text("model")
        name = fields.required_text("name") if name is None else name
        _, path, held = await self._shelf.described(name)
        lease = None if held is None else Lease(held, 0.0)
        try:
            return JSONResponse(await run_in_threadpool(lambda: shown(path, held)))
        finally:
            if lease is not None:
                lease.release()
