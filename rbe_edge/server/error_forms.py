"""The same error as each API writes it: OpenAI's, Ollama's and Anthropic's, told apart by the path."""

from __future__ import annotations

from rbe_edge.server.api_error import ApiError

_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip


def error_body(error: ApiError, path: str) -> dict[str, object]:
    """The body of a response to a request for that path."""
    if path.startswith("/api/"):
        return ollama_error(error)
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return anthropic_error(error)
    return error.body()


def ollama_error(error: ApiError) -> dict[str, object]:
    return {"error": error.message}


def anthropic_error(error: ApiError) -> dict[str, object]:
    kind = "api_error" if error.status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": _ANTHROPIC.get(error.status, kind), "message": error.message}}
