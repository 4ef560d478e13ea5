"""Which errors a client has caused, and what it is told of them."""

from __future__ import annotations

from rbe_edge.errors import Cancelled, ContextFull
from rbe_edge.grammar.grammar import GrammarError
from rbe_edge.server.api_error import ApiError, wrong
from rbe_edge.server.scheduler import QueueFull, Stopped


def api_error(error: BaseException) -> ApiError:
    """The error that the client gets; one that it did not cause stays a 500."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        return ApiError(
            429, f"{error}; try again later", code="queue_full", headers={"Retry-After": f"{error.retry_after}"}
        )
    if isinstance(error, Cancelled):
        return ApiError(499, str(error))  # nobody will read it
    if isinstance(error, Stopped):
        return ApiError(503, str(error))
    if isinstance(error, GrammarError):
        return wrong("response_format", grammar_message(error))
    if isinstance(error, ContextFull):
        return wrong("messages", str(error), code="context_length_exceeded")
    return ApiError(500, "the answer could not be made; the server's log says why")


def grammar_message(error: BaseException) -> str:
    return f"the schema cannot be used: {error}" if isinstance(error, GrammarError) else str(error)
