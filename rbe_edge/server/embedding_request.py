"""Reads what requests ask about texts in numbers: embeddings, and an order of documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from rbe_edge.runtime.encoder_info import Pooling
from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import inputs_of
from rbe_edge.server.fields import Fields

MOST_DOCUMENTS = 2048
MOST_DIMENSIONS = 65536


@dataclass(frozen=True)
class EmbeddingRequest:
    """dimensions: numbers of each vector, None: all. pooling: in place of the file's. prompt: the name of one of the
    model's, which stands before each text. cut: texts that are too long are."""

    inputs: tuple[str | list[int], ...]
    base64: bool = False
    dimensions: int | None = None
    pooling: Pooling | None = None
    prompt: str | None = None
    cut: bool = False


@dataclass(frozen=True)
class RankRequest:
    """top: documents of the answer at most, None: all. gives_documents: whether it holds their texts."""

    query: str
    documents: tuple[str, ...]
    top: int | None
    gives_documents: bool


def read_embedding(fields: Fields) -> EmbeddingRequest:
    encoding = fields.text("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise wrong("encoding_format", "`encoding_format` must be float or base64")
    return EmbeddingRequest(
        tuple(inputs_of(fields, "input")),
        encoding == "base64",
        fields.whole("dimensions", 1, MOST_DIMENSIONS),
        pooling_of(fields),
        fields.text("prompt_name"),
        fields.flag("truncate"),
    )


def pooling_of(fields: Fields) -> Pooling | None:
    """Raises ApiError for what is none."""
    found, known = fields.text("pooling"), get_args(Pooling)
    if found is not None and found not in known:
        raise wrong(fields.path("pooling"), f"`{fields.path('pooling')}` must be one of {', '.join(known)}")
    return found  # type: ignore[return-value]


def read_rank(fields: Fields) -> RankRequest:
    """As Jina, Cohere and llama.cpp have it: documents are texts, or objects with a `text`."""
    query = fields.required_text("query")
    if not query.strip():
        raise wrong("query", "`query` is empty")
    given = fields.raw("documents")
    given = fields.raw("texts") if given is None else given
    if not isinstance(given, list) or not 0 < len(given) <= MOST_DOCUMENTS:
        raise wrong("documents", f"`documents` must be a list of 1 to {MOST_DOCUMENTS} texts")
    found = [one.get("text") if isinstance(one, dict) else one for one in given]
    documents = tuple(one for one in found if isinstance(one, str))
    if len(documents) != len(found):
        raise wrong("documents", "`documents` must be texts, or objects with a `text`")
    return RankRequest(query, documents, fields.whole("top_n", 1, 2**31 - 1), fields.flag("return_documents"))
