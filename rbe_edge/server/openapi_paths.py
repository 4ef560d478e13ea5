"""What each method of each path is for, and what it takes and gives."""

from __future__ import annotations

from rbe_edge.server.openapi_parts import Json, ref


def _json(schema: str) -> Json:
    return {"application/json": {"schema": ref(schema)}}


def _gives(schema: str, text: str) -> Json:
    return {"200": {"description": text, "content": _json(schema)}}


def _text(kind: str, text: str) -> Json:
    return {"200": {"description": text, "content": {kind: {"schema": {"type": "string"}}}}}


def _completion(tag: str, summary: str, asked: str, given: str, details: str) -> Json:
    said = "Events whose data are chunks of the answer, then [DONE]"
    streamed = {"text/event-stream": {"schema": {"description": said}}}
    return {
        "tags": [tag],
        "summary": summary,
        "description": details,
        "requestBody": {"required": True, "content": _json(asked)},
        "responses": {
            "200": {
                "description": "The answer; with `stream` as server-sent events",
                "content": {**_json(given), **streamed},
            }
        },
    }


def _rank(summary: str) -> Json:
    return {
        "tags": ["Answers"],
        "summary": summary,
        "requestBody": {"required": True, "content": _json("RankRequest")},
        "responses": _gives("RankAnswer", "The documents, the best first"),
    }


_PAGE = "Unchanged since the browser asked last"

#: By method and path.
OPERATIONS: dict[tuple[str, str], Json] = {
    ("post", "/v1/chat/completions"): _completion(
        "Answers",
        "An answer to a conversation",
        "ChatRequest",
        "ChatAnswer",
        "The conversation goes through the model's chat template. Without max_tokens an answer may continue until the "
        "context is full.",
    ),
    ("post", "/v1/completions"): _completion(
        "Answers",
        "Continues a text, or token ids",
        "TextRequest",
        "TextAnswer",
        "Control tokens that are written out in the text are read as what they are, unless the server was started with "
        "--no-control-tokens.",
    ),
    ("post", "/v1/embeddings"): {
        "tags": ["Answers"],
        "summary": "A vector for each text",
        "description": "By a model that was trained for it; of others with `pooling` alone.",
        "requestBody": {"required": True, "content": _json("EmbeddingRequest")},
        "responses": _gives("EmbeddingAnswer", "The vectors"),
    },
    ("post", "/v1/rerank"): _rank("Documents by how well they answer a query, by a cross encoder"),
    ("post", "/rerank"): _rank("The same, as llama.cpp calls it"),
    ("get", "/v1/models"): {
        "tags": ["Models"],
        "summary": "The models that there are",
        "responses": _gives("Models", "A list"),
    },
    ("get", "/v1/models/{model}"): {
        "tags": ["Models"],
        "summary": "One of them",
        "responses": _gives("Model", "The model"),
    },
    ("get", "/health"): {
        "tags": ["Server"],
        "summary": "Whether the server answers; needs no key",
        "responses": {**_gives("Health", "It does"), "503": {"description": "Stopping", "content": _json("Health")}},
    },
    ("get", "/metrics"): {
        "tags": ["Server"],
        "summary": "Numbers for Prometheus",
        "responses": _text("text/plain", "Text format 0.0.4"),
    },
    ("get", "/"): {
        "tags": ["Pages"],
        "summary": "The chat page; needs no key itself",
        "responses": {**_text("text/html", "The page"), "304": {"description": _PAGE}},
    },
    ("get", "/docs"): {
        "tags": ["Pages"],
        "summary": "This description for people",
        "responses": {**_text("text/html", "The page"), "304": {"description": _PAGE}},
    },
    ("get", "/openapi.json"): {
        "tags": ["Pages"],
        "summary": "This description for programs",
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    },
}
