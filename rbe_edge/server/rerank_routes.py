"""An order of documents by a cross encoder, as Jina, Cohere and llama.cpp tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rbe_edge.runtime.encoder_texts import TokenText
from rbe_edge.server.desk import Desk
from rbe_edge.server.embedding_request import RankRequest, read_rank
from rbe_edge.server.fields import Fields
from rbe_edge.server.shelf import Lease
from rbe_edge.server.text_numbers import usage


def rerank_routes(desk: Desk) -> list[Route]:
    return [Route(path, desk.telling(_pairs, _ranked), methods=["POST"]) for path in ("/v1/rerank", "/rerank")]


@dataclass(frozen=True)
class _Pairs:
    wanted: RankRequest
    texts: Sequence[TokenText]


def _pairs(fields: Fields, lease: Lease) -> _Pairs:
    """Documents by how well they answer a query."""
    wanted = read_rank(fields)
    return _Pairs(wanted, lease.service.texts.pairs(wanted))


async def _ranked(request: Request, lease: Lease, pairs: _Pairs) -> Response:
    rows = await lease.service.texts.numbers(pairs.texts, None, request.is_disconnected)
    order = sorted(range(len(rows)), key=lambda place: (-rows[place][0], place))[: pairs.wanted.top]
    results: list[dict[str, object]] = []
    for place in order:
        found: dict[str, object] = {"index": place, "relevance_score": _share(rows[place][0])}
        if pairs.wanted.gives_documents:
            found["document"] = {"text": pairs.wanted.documents[place]}
        results.append(found)
    told = {"object": "list", "model": lease.service.model_id, "results": results, "usage": usage(pairs.texts)}
    return JSONResponse(told)


def _share(score: float) -> float:
    """A score from 0 to 1: the logistic function of it, as clients of such models expect."""
    return 1 / (1 + math.exp(-score)) if score > -700 else 0.0
