"""The objects and events of OpenAI's responses."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.blocks import Blocks
from rbe_edge.server.forms import Choice, Form, Json, Parts, event
from rbe_edge.server.job import Finish, Job, TokenScore
from rbe_edge.server.tool_calls import ToolCall


class ResponseForm(Form):
    """One response. echo: what it says of its request."""

    def __init__(self, model_id: str, echo: Json) -> None:
        self._blocks = Blocks()
        self._number = 0  # of the next event
        self._output: list[Json] = []
        self._text: list[str] | None = None  # of the message that is being written
        self._head: Json = {
            "id": f"resp_{secrets.token_hex(16)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model_id,
            "background": False,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "truncation": "disabled",
            **echo,
        }

    def whole(self, choices: Sequence[Choice]) -> Json:
        choice = choices[0]
        assert choice.finish is not None
        self._take(choice.parts)
        self._end_text(choice.finish.reason)
        return self._ended(choice.finish)

    def opening(self, jobs: Sequence[Job]) -> list[bytes]:
        begun = self._response("in_progress")
        return [self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")]

    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        return self._take(parts)

    def ending(self, index: int, finish: Finish) -> list[bytes]:
        data = self._end_text(finish.reason)
        ended = self._ended(finish)
        return [*data, self._event(f"response.{ended['status']}", response=ended)]

    def failure(self, error: ApiError) -> list[bytes]:
        found = error.body()["error"]
        assert isinstance(found, dict)
        failed = self._response("failed", error={"code": "server_error", "message": error.message})
        told = {"code": found["code"], "message": error.message, "param": found["param"]}
        return [self._event("error", **told), self._event("response.failed", response=failed)]

    # ---- what it is made of ----

    def _response(self, status: str, **more: object) -> Json:
        empty: Json = {"error": None, "incomplete_details": None, "usage": None}
        return {**self._head, "status": status, "output": list(self._output), **empty, **more}

    def _ended(self, finish: Finish) -> Json:
        usage = {
            "input_tokens": finish.prompt_tokens,
            "input_tokens_details": {"cached_tokens": finish.cached_tokens},
            "output_tokens": finish.generated_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": finish.prompt_tokens + finish.generated_tokens,
        }
        if finish.reason == "length":
            return self._response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=usage)
        return self._response("completed", usage=usage)

    def _take(self, parts: Parts) -> list[bytes]:
        data: list[bytes] = []
        for begins, part in self._blocks.split(parts):
            if isinstance(part, ToolCall):
                data += [*self._end_text("stop"), *self._call(part)]
            elif isinstance(part, str):
                data += self._begin_text() if begins else []
                assert self._text is not None
                self._text.append(part)
                place = self._part_place()
                data.append(self._event("response.output_text.delta", **place, delta=part, logprobs=[]))
        return data

    def _part_place(self) -> Json:
        at = len(self._output) - 1
        return {"item_id": self._output[at]["id"], "output_index": at, "content_index": 0}

    def _begin_text(self) -> list[bytes]:
        item = _message("in_progress", [])
        self._output.append(item)
        self._text = []
        added = self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)
        return [added, self._event("response.content_part.added", **self._part_place(), part=_text(""))]

    def _end_text(self, reason: str) -> list[bytes]:
        if self._text is None:
            return []
        text, self._text = "".join(self._text), None
        place, part = self._part_place(), _text(text)
        item = self._output[-1] = {
            **self._output[-1],
            "status": "incomplete" if reason == "length" else "completed",
            "content": [part],
        }
        return [
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=part),
            self._event("response.output_item.done", output_index=place["output_index"], item=item),
        ]

    def _call(self, call: ToolCall) -> list[bytes]:
        at = len(self._output)
        item: Json = {
            "type": "function_call",
            "id": f"fc_{secrets.token_hex(12)}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        self._output.append(item)
        place = {"item_id": item["id"], "output_index": at}
        begun = {**item, "arguments": "", "status": "in_progress"}
        arguments = {"name": call.name, "arguments": call.arguments}
        return [
            self._event("response.output_item.added", output_index=at, item=begun),
            self._event("response.function_call_arguments.delta", **place, delta=call.arguments),
            self._event("response.function_call_arguments.done", **place, **arguments),
            self._event("response.output_item.done", output_index=at, item=item),
        ]

    def _event(self, kind: str, **more: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **more}, kind)


def _message(status: str, content: list[Json]) -> Json:
    identity = f"msg_{secrets.token_hex(12)}"
    return {"type": "message", "id": identity, "status": status, "role": "assistant", "content": content}


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
