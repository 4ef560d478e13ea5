"""llama.cpp's endpoints: tokens of texts, texts of conversations, and plain and filled-in completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge.runtime.marked_text import unmark
from rbe_edge.server import chat_request
from rbe_edge.server.api_error import wrong
from rbe_edge.server.desk import Asked, Desk
from rbe_edge.server.fields import Fields
from rbe_edge.server.fill_in_the_middle import Gap, OtherFile
from rbe_edge.server.llama_form import LlamaForm
from rbe_edge.server.shelf import Lease
from rbe_edge.server.tool_calls import WordReader

_MOST_FILES = 1000
_MOST_TOKENS = 250_000  # of a text: a second's work


def text_routes(desk: Desk) -> list[Route]:
    asking: list[tuple[str, Callable[[Fields, Lease], Any]]] = [
        ("/tokenize", _tokens),
        ("/detokenize", _text),
        ("/apply-template", _applied),
    ]
    return [
        Route("/completion", desk.answering(_completion), methods=["POST"]),
        Route("/infill", desk.answering(_infill), methods=["POST"]),
        *(Route(path, desk.telling(read, _tell), methods=["POST"]) for path, read in asking),
    ]


async def _tell(request: Request, lease: Lease, found: Any) -> Response:
    return JSONResponse(found)


def _tokens(fields: Fields, lease: Lease) -> dict[str, object]:
    """The tokens of a text, as llama.cpp tells them."""
    service = lease.service
    text = fields.text("content")
    text = fields.required_text("prompt") if text is None else text
    special = fields.flag("add_special")
    parse = True if fields.raw("parse_special") is None else fields.flag("parse_special")
    tokens = service.model.tokenize(text, special=special, parse_special=parse)
    if len(tokens) > _MOST_TOKENS:
        raise wrong("content", f"the text has {len(tokens)} tokens; send at most {_MOST_TOKENS} at once")
    count = {"count": len(tokens), "max_model_len": service.scheduler.context}
    if not fields.flag("with_pieces"):
        return {"tokens": tokens, **count}
    return {"tokens": [{"id": token, "piece": _piece(service.model.token_bytes(token, special=True))}
                       for token in tokens], **count}  # fmt: skip


def _piece(data: bytes) -> str | list[int]:
    """As llama.cpp: a text, or the bytes where they are none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return list(data)


def _text(fields: Fields, lease: Lease) -> dict[str, object]:
    """The text of tokens."""
    tokens = fields.raw("tokens")
    if not isinstance(tokens, list) or len(tokens) > _MOST_TOKENS or not all(type(one) is int for one in tokens):
        raise wrong("tokens", f"`tokens` must be a list of at most {_MOST_TOKENS} token ids")
    model = lease.service.model
    if not all(0 <= token < model.tokenizer_size for token in tokens):
        raise wrong("tokens", f"`tokens`: token ids are from 0 to {model.tokenizer_size - 1}")
    return {"content": model.detokenize(tokens)}


def _applied(fields: Fields, lease: Lease) -> dict[str, object]:
    """A conversation as the model's template writes it."""
    more = fields.raw("add_generation_prompt") is None or fields.flag("add_generation_prompt")
    text = lease.service.chat_text(chat_request.read_chat(fields), more_comes=more)
    return {"prompt": unmark(text)}


def _completion(fields: Fields, lease: Lease) -> Asked:
    """What follows a text, as llama.cpp tells it."""
    values = dict(fields.values)
    if fields.whole("n_predict", -2, 2**31 - 1) in (-2, -1):
        del values["n_predict"]  # llama.cpp's words for no limit
    wanted, service = chat_request.read_text(Fields(values)), lease.service
    if len(wanted.prompts) * wanted.base.choices > 1:
        raise wrong("prompt", "one prompt and one answer at a time; /v1/completions takes several")
    jobs = service.text_jobs(wanted)
    return Asked(jobs, LlamaForm(service, wanted.base), [WordReader()], wanted.base.stream)


def _infill(fields: Fields, lease: Lease) -> Asked:
    """What stands between two texts."""
    others = [
        OtherFile(one.text("filename") or "", one.required_text("text"))
        for one in fields.objects("input_extra", _MOST_FILES) or []
    ]
    prefix, suffix = fields.text("input_prefix") or "", fields.text("input_suffix") or ""
    tokens = lease.service.gap_tokens(Gap(prefix, suffix, fields.text("prompt") or "", others), "input_prefix")
    return _completion(Fields({**fields.values, "prompt": tokens}), lease)
