"""Errors as OpenAI's API writes them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping

from rbe_edge.terminal_text import one_line

_MOST_CHARACTERS = 500  # of a message: some quote the request, which may be megabytes


class ApiError(Exception):
    """The error that a client gets, with its HTTP status. message: becomes one line of at most 500 characters. param:
    the field of the request that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.message = one_line(message, _MOST_CHARACTERS)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def wrong(param: str, message: str, *, code: str | None = None) -> ApiError:
    """400: a field of the request is wrong."""
    return ApiError(400, message, param=param, code=code)
