"""The description of the interface in OpenAPI 3.1, for `/openapi.json`: made from the routes that there are, with what
openapi_paths.py says of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rbe_edge._version import __version__
from rbe_edge.server.openapi_parts import Json, ref
from rbe_edge.server.openapi_paths import OPERATIONS
from rbe_edge.server.openapi_requests import REQUESTS
from rbe_edge.server.openapi_schemas import SCHEMAS

_ABOUT = (
    "The model of this server, for other programs. Unknown fields of a request are ignored; null is as if a field were "
    "not there. A body is JSON in UTF-8. More: docs/server.md."
)
_TAGS = [{"name": name} for name in ("Answers", "Ollama", "Anthropic", "llama.cpp", "Models", "Server", "Pages")]
_OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/health"})  # which need no key
_ERRORS = {
    "400": "The request is wrong, or does not fit into the context",
    "401": "The API key is missing or wrong",
    "403": "A web page of another origin, or a request for another host",
    "404": "There is no such model",
    "405": "The path does not take this method",
    "408": "The body did not come in time",
    "413": "The body is too large",
    "429": "The queue is full; Retry-After says for how long",
    "499": "The client went away",
    "500": "The answer failed; the server's log says why",
    "503": "The server is stopping, or has no memory for another body",
}
_ERRORS_OF_READING = ("401", "403", "500")


@dataclass(frozen=True)
class Operation:
    """path: as OpenAPI writes it. method: in lower case. summary: of one that openapi_paths.py does not describe."""

    path: str
    method: str
    summary: str


def operations_of(routes: Iterable[Any]) -> list[Operation]:
    """Of Starlette's routes, in their order; HEAD and the files of pages are left out."""
    found = []
    for route in routes:
        path = getattr(route, "path", "").replace(":path}", "}")
        for method in sorted(getattr(route, "methods", None) or ()):
            if method != "HEAD" and not path.startswith("/web/"):
                found.append(Operation(path, method.lower(), _summary(route.endpoint, path)))
    return found


def description(operations: Sequence[Operation], needs_key: bool) -> Json:
    """The whole description."""
    paths: dict[str, Json] = {}
    for one in operations:
        told = OPERATIONS.get((one.method, one.path)) or _plain(one)
        paths.setdefault(one.path, {})[one.method] = _operation(one, told, needs_key)
    components: Json = {"schemas": SCHEMAS}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "The API key"}}
    info = {"title": "rbe_edge", "version": __version__, "description": _ABOUT, "license": {"name": "MIT"}}
    return {"openapi": "3.1.0", "info": info, "tags": _TAGS, "paths": paths, "components": components}


def _operation(one: Operation, told: Json, needs_key: bool) -> Json:
    name = one.path.replace("{", "").replace("}", "").strip("/").replace("/", "_").replace(".", "_")
    made: Json = {"operationId": f"{one.method}_{name or 'chat'}", **told}
    if "{" in one.path:
        names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
        text = {"type": "string", "minLength": 1}
        made["parameters"] = [{"name": name, "in": "path", "required": True, "schema": text} for name in names]
    statuses = _ERRORS if one.method != "get" else {status: _ERRORS[status] for status in _ERRORS_OF_READING}
    if "{" in one.path:
        statuses = {**statuses, "404": _ERRORS["404"]}
    responses = {status: _error(text, one.path) for status, text in statuses.items()}
    fine = {"200": {"description": "Done"}} if "responses" not in told else told["responses"]
    made["responses"] = {**fine, **{status: said for status, said in responses.items() if status not in fine}}
    if needs_key and one.path not in _OPEN_PATHS:
        made["security"] = [{"key": []}]
    return made


def _plain(one: Operation) -> Json:
    """Of an API of others, who describe it themselves: what it is for, and what it takes."""
    told: Json = {"summary": one.summary, "tags": [_api_of(one.path)]}
    if one.method == "post":
        schema = REQUESTS.get(one.path, {"type": "object"})
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return told


def _error(text: str, path: str) -> Json:
    form = {"Ollama": "OllamaError", "Anthropic": "AnthropicError"}.get(_api_of(path), "Error")
    return {"description": text, "content": {"application/json": {"schema": ref(form)}}}


def _api_of(path: str) -> str:
    """Whose form a path has (error_forms.py)."""
    if path.startswith("/api/"):
        return "Ollama"
    if path.startswith("/v1/messages"):
        return "Anthropic"
    return "Answers" if path.startswith("/v1/") else "llama.cpp"


def _summary(endpoint: Callable[..., Any], path: str) -> str:
    """The first sentence of what the endpoint says of itself, else its path."""
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    text = inspect.getdoc(endpoint) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".") or path
