"""OpenAI's responses, without a memory of earlier ones."""

from __future__ import annotations

from starlette.routing import Route

from rbe_edge.server.desk import Asked, Desk
from rbe_edge.server.fields import Fields
from rbe_edge.server.responses_form import ResponseForm
from rbe_edge.server.responses_request import read_response
from rbe_edge.server.shelf import Lease
from rbe_edge.server.tool_calls import ToolCallReader, WordReader


def responses_routes(desk: Desk) -> list[Route]:
    return [Route("/v1/responses", desk.answering(_respond), methods=["POST"])]


def _respond(fields: Fields, lease: Lease) -> Asked:
    """An answer in the form of OpenAI's responses. Nothing is kept."""
    wanted = read_response(fields)
    jobs = lease.service.chat_jobs(wanted.chat)
    reader = ToolCallReader() if wanted.chat.tools else WordReader()
    form = ResponseForm(lease.service.model_id, wanted.echo)
    return Asked(jobs, form, [reader], wanted.chat.base.stream)
