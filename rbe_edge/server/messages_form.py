"""The objects and events of Anthropic's messages."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.blocks import Blocks
from rbe_edge.server.error_forms import anthropic_error
from rbe_edge.server.forms import Choice, Form, Json, Parts, event
from rbe_edge.server.job import Finish, Job, TokenScore
from rbe_edge.server.tool_calls import Part, Thought, ToolCall


class MessagesForm(Form):
    """One message. stops: the texts that the client asked to stop at."""

    def __init__(self, model_id: str, stops: tuple[str, ...]) -> None:
        self._model_id, self._stops = model_id, stops
        self._blocks = Blocks()
        self._content: list[Json] = []
        self._is_open = False  # the last block
        self._has_calls = False

    def whole(self, choices: Sequence[Choice]) -> Json:
        choice = choices[0]
        assert choice.finish is not None
        for begins, part in self._blocks.split(choice.parts):
            if begins:
                self._content.append(_begun(part))
            _add(self._content[-1], part)
        finish = choice.finish
        usage = {**_input_usage(finish.prompt_tokens, finish.cached_tokens), "output_tokens": finish.generated_tokens}
        self._has_calls = any(block["type"] == "tool_use" for block in self._content)
        return self._message(self._content, **self._reason(finish), usage=usage)

    def opening(self, jobs: Sequence[Job]) -> list[bytes]:
        usage = {**_input_usage(len(jobs[0].reads), 0), "output_tokens": 0}
        message = self._message([], stop_reason=None, stop_sequence=None, usage=usage)
        return [_event("message_start", message=message), _event("ping")]

    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        data: list[bytes] = []
        for begins, part in self._blocks.split(parts):
            if begins:
                data += self._close()
                self._content.append(_begun(part))
                self._is_open = True
                at = len(self._content) - 1
                data.append(_event("content_block_start", index=at, content_block=self._content[at]))
            data.append(_event("content_block_delta", index=len(self._content) - 1, delta=_delta(part)))
            self._has_calls |= isinstance(part, ToolCall)
        return data

    def ending(self, index: int, finish: Finish) -> list[bytes]:
        usage = {**_input_usage(finish.prompt_tokens, finish.cached_tokens), "output_tokens": finish.generated_tokens}
        told = _event("message_delta", delta=self._reason(finish), usage=usage)
        return [*self._close(), told, _event("message_stop")]

    def failure(self, error: ApiError) -> list[bytes]:
        return [event(anthropic_error(error), "error")]

    def _close(self) -> list[bytes]:
        was_open, self._is_open = self._is_open, False
        return [_event("content_block_stop", index=len(self._content) - 1)] if was_open else []

    def _message(self, content: list[Json], **more: object) -> Json:
        head = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": self._model_id}
        return {**head, "content": content, **more}

    def _reason(self, finish: Finish) -> Json:
        if self._has_calls:
            return {"stop_reason": "tool_use", "stop_sequence": None}
        if finish.stop is not None and finish.stop in self._stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": finish.stop}
        return {"stop_reason": "max_tokens" if finish.reason == "length" else "end_turn", "stop_sequence": None}


def _input_usage(prompt: int, cached: int) -> Json:
    return {
        "input_tokens": prompt - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def _begun(part: Part) -> Json:
    """The block that a part begins, still empty."""
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": part.name, "input": {}}
    if isinstance(part, Thought):
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _add(block: Json, part: Part) -> None:
    if isinstance(part, ToolCall):
        block["input"] = json.loads(part.arguments)
    elif isinstance(part, Thought):
        block["thinking"] += part.text
    else:
        block["text"] += part


def _delta(part: Part) -> Json:
    if isinstance(part, ToolCall):
        return {"type": "input_json_delta", "partial_json": part.arguments}
    if isinstance(part, Thought):
        return {"type": "thinking_delta", "thinking": part.text}
    return {"type": "text_delta", "text": part}


def _event(kind: str, **more: Any) -> bytes:
    return event({"type": kind, **more}, kind)
