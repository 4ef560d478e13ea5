"""What an API writes of answers: at once, or piece by piece as they come. A subclass for each endpoint that answers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.job import Finish, Job, TokenScore
from rbe_edge.server.tool_calls import Part, Thought, ToolCall

Json = dict[str, Any]
Parts = Sequence[Part]


@dataclass
class Choice:
    """One of the answers to a request, as far as it has come."""

    parts: list[Part] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    finish: Finish | None = None


class Form(ABC):
    """Of the answers to one request. index: of the answer among all. What a stream is made of comes as bytes, ready to
    be sent, in this order: opening, pieces, an ending for each answer, closing; or a failure for what is left."""

    media_type = "text/event-stream"

    @abstractmethod
    def whole(self, choices: Sequence[Choice]) -> Json:
        """All answers at once. The choices are finished."""

    def opening(self, jobs: Sequence[Job]) -> list[bytes]:
        return []

    @abstractmethod
    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        """A piece of an answer. There are parts or scores."""

    @abstractmethod
    def ending(self, index: int, finish: Finish) -> list[bytes]:
        """The end of an answer."""

    def closing(self, choices: Sequence[Choice]) -> list[bytes]:
        return []

    @abstractmethod
    def failure(self, error: ApiError) -> list[bytes]:
        """What a client is told behind a part of the answer."""


def words(parts: Parts) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def thoughts(parts: Parts) -> str:
    return "".join(part.text for part in parts if isinstance(part, Thought))


def calls(parts: Parts) -> list[ToolCall]:
    return [part for part in parts if isinstance(part, ToolCall)]


def event(value: object, name: str | None = None) -> bytes:
    """One server-sent event. JSON escapes line ends, so the data is one line."""
    head = b"" if name is None else b"event: " + name.encode("ascii") + b"\n"
    return head + b"data: " + compact(value) + b"\n\n"


def json_line(value: object) -> bytes:
    """One line of NDJSON."""
    return compact(value) + b"\n"


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
