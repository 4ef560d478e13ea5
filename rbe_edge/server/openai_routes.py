"""OpenAI's endpoints that take a body: completions of both kinds, and embeddings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge.runtime.encoder_texts import TokenText
from rbe_edge.server import chat_request
from rbe_edge.server.answers import ChatForm, TextForm
from rbe_edge.server.desk import Asked, Desk
from rbe_edge.server.embedding_request import EmbeddingRequest, read_embedding
from rbe_edge.server.fields import Fields
from rbe_edge.server.shelf import Lease
from rbe_edge.server.text_numbers import shortened, usage
from rbe_edge.server.tool_calls import ToolCallReader, WordReader


def openai_routes(desk: Desk) -> list[Route]:
    return [
        Route("/v1/chat/completions", desk.answering(_chat), methods=["POST"]),
        Route("/v1/completions", desk.answering(_text), methods=["POST"]),
        Route("/v1/embeddings", desk.telling(_inputs, _embedded), methods=["POST"]),
    ]


def _chat(fields: Fields, lease: Lease) -> Asked:
    """An answer to a conversation, or several."""
    wanted, service = chat_request.read_chat(fields), lease.service
    jobs = service.chat_jobs(wanted)
    reader = ToolCallReader if wanted.tools else WordReader
    form = ChatForm(service.model, service.model_id, service.fingerprint, wanted.base)
    return Asked(jobs, form, [reader() for _ in jobs], wanted.base.stream)


def _text(fields: Fields, lease: Lease) -> Asked:
    """What follows a text, or token ids."""
    wanted, service = chat_request.read_text(fields), lease.service
    jobs = service.text_jobs(wanted)
    form = TextForm(service.model, service.model_id, service.fingerprint, wanted.base)
    return Asked(jobs, form, [WordReader() for _ in jobs], wanted.base.stream)


@dataclass(frozen=True)
class _Inputs:
    wanted: EmbeddingRequest
    texts: Sequence[TokenText]


def _inputs(fields: Fields, lease: Lease) -> _Inputs:
    """A vector for each text."""
    wanted = read_embedding(fields)
    return _Inputs(wanted, lease.service.texts.inputs(wanted))


async def _embedded(request: Request, lease: Lease, inputs: _Inputs) -> Response:
    wanted = inputs.wanted
    vectors = await lease.service.texts.numbers(inputs.texts, wanted.pooling, request.is_disconnected)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(shortened(one, wanted.dimensions), wanted.base64)}
        for index, one in enumerate(vectors)
    ]
    told = {"object": "list", "data": data, "model": lease.service.model_id, "usage": usage(inputs.texts)}
    return JSONResponse(told)


def _encoded(vector: list[float], as_base64: bool) -> list[float] | str:
    """OpenAI's base64 is of little-endian float32."""
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
