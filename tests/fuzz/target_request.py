"""Bodies of HTTP requests of any content: each endpoint understands one or refuses it as the client's mistake. An input
is a line whose first byte chooses the endpoint, and the body."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.server import chat_request, embedding_request, messages_request, ollama_request, responses_request
from rbe_edge.server.chat_request import ChatRequest, TextRequest
from rbe_edge.server.error_forms import error_body
from rbe_edge.server.fields import Fields, parse_object
from rbe_edge.server.known_errors import api_error
from rbe_edge.server.service import Service, ServiceOptions

MOST_BYTES = 8 << 10
IS_JSON = True

_TEMPLATE = Path(__file__).resolve().parent.parent / "golden" / "templates" / "chatml-qwen3.jinja"


@cache
def _service() -> Service:
    """With the demo model, and a template that takes tools."""
    options = ServiceOptions(template=_TEMPLATE.read_text(encoding="utf-8"))
    return Service(Model.open(demo_path()), SessionOptions(threads=1), options)


def _generate(fields: Fields) -> Any:
    asked = ollama_request.read_generate(fields)
    return asked.asked.chat if asked.asked.chat.messages else None


#: What each endpoint reads; a conversation is written by the template and tokenized too.
_ENDPOINTS: tuple[tuple[str, Callable[[Fields], Any]], ...] = (
    ("/v1/chat/completions", chat_request.read_chat),
    ("/v1/completions", chat_request.read_text),
    ("/v1/messages", lambda fields: messages_request.read_messages_request(fields).chat),
    ("/v1/responses", lambda fields: responses_request.read_response(fields).chat),
    ("/api/chat", lambda fields: ollama_request.read_chat(fields).chat),
    ("/api/generate", _generate),
    ("/v1/embeddings", embedding_request.read_embedding),
    ("/v1/rerank", embedding_request.read_rank),
)


def seeds() -> dict[str, bytes]:
    return {}  # those of the corpus


def run(data: bytes) -> None:
    path, read = _ENDPOINTS[data[0] % len(_ENDPOINTS)] if data else _ENDPOINTS[0]
    try:
        wanted = read(Fields(parse_object(data.partition(b"\n")[2])))
        if isinstance(wanted, ChatRequest) and wanted.messages:
            _service().chat_jobs(wanted)
        elif isinstance(wanted, TextRequest):
            _service().text_jobs(wanted)
    except Exception as error:
        found = api_error(error)
        if found.status >= 500:
            raise
        json.dumps(error_body(found, path)).encode()
        assert "\n" not in found.message, "a message of one line"
