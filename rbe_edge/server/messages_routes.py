"""Anthropic's messages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge.server.desk import Asked, Desk
from rbe_edge.server.fields import Fields
from rbe_edge.server.messages_form import MessagesForm
from rbe_edge.server.messages_request import read_messages_request
from rbe_edge.server.shelf import Lease
from rbe_edge.server.tool_calls import ThoughtReader, ToolCallReader, WordReader


def messages_routes(desk: Desk) -> list[Route]:
    return [
        Route("/v1/messages", desk.answering(_answer), methods=["POST"]),
        Route("/v1/messages/count_tokens", desk.telling(_count, _tell), methods=["POST"]),
    ]


def _answer(fields: Fields, lease: Lease) -> Asked:
    """An answer in the form of Anthropic's messages."""
    wanted, service = read_messages_request(fields), lease.service
    jobs = service.chat_jobs(wanted.chat)
    reader = ToolCallReader() if wanted.chat.tools else WordReader()
    if wanted.thinks and service.template.knows_thoughts and wanted.chat.grammar is None:
        reader = ThoughtReader(reader, service.opens_thought(jobs[0]))
    form = MessagesForm(service.model_id, wanted.chat.base.stop)
    return Asked(jobs, form, [reader], wanted.chat.base.stream)


def _count(fields: Fields, lease: Lease) -> int:
    """How many tokens such a request has."""
    return len(lease.service.chat_tokens(read_messages_request(fields, needs_limit=False).chat))


async def _tell(request: Request, lease: Lease, count: int) -> Response:
    return JSONResponse({"input_tokens": count})
