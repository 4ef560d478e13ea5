"""The objects that OpenAI's API answers with."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rbe_edge.server.job import Finish, TokenScore
from rbe_edge.server.tool_calls import ToolCall

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

Json = dict[str, Any]


class AnswerForm:
    """The objects of one answer; a subclass for each endpoint. model: the id that is served."""

    prefix, kind, chunk_kind = "", "", ""

    def __init__(self, model: Model, model_id: str, fingerprint: str) -> None:
        self._model = model
        self._head = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}
        self._head["system_fingerprint"] = fingerprint

    def _object(self, kind: str, choices: list[Json], **more: object) -> Json:
        return {**self._head, "object": kind, "choices": choices, **more}

    def usage_chunk(self, finish: Finish) -> Json:
        """The last chunk, where usage was asked for."""
        return self._object(self.chunk_kind, [], usage=usage(finish))

    def first_chunks(self) -> list[Json]:
        return []

    def chunk(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore]) -> Json:
        raise NotImplementedError

    def last_chunk(self, finish: Finish) -> Json:
        raise NotImplementedError

    def whole(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore] | None, finish: Finish) -> Json:
        raise NotImplementedError

    def _token(self, token: int) -> str:
        return self._model.token_bytes(token, special=True).decode("utf-8", "replace")


def usage(finish: Finish) -> Json:
    return {
        "prompt_tokens": finish.prompt_tokens,
        "completion_tokens": finish.generated_tokens,
        "total_tokens": finish.prompt_tokens + finish.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": finish.cached_tokens},
    }


class ChatForm(AnswerForm):
    """/v1/chat/completions"""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: Model, model_id: str, fingerprint: str) -> None:
        super().__init__(model, model_id, fingerprint)
        self._calls = 0

    def _chunk(self, delta: Json, reason: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._object(self.chunk_kind, [choice])

    def first_chunks(self) -> list[Json]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def chunk(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore]) -> Json:
        delta: Json = {}
        text = "".join(part for part in parts if isinstance(part, str))
        calls = [part for part in parts if isinstance(part, ToolCall)]
        if text or not calls:
            delta["content"] = text
        if calls:
            first, self._calls = self._calls, self._calls + len(calls)
            delta["tool_calls"] = [{"index": first + i, **_call(call)} for i, call in enumerate(calls)]
        return self._chunk(delta, logprobs=self._logprobs(scores) if scores else None)

    def last_chunk(self, finish: Finish) -> Json:
        return self._chunk({}, "tool_calls" if self._calls else finish.reason)

    def whole(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore] | None, finish: Finish) -> Json:
        text = "".join(part for part in parts if isinstance(part, str))
        calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
        message: Json = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None if scores is None else self._logprobs(scores),
            "finish_reason": "tool_calls" if calls else finish.reason,
        }
        return self._object(self.kind, [choice], usage=usage(finish))

    def _logprobs(self, scores: Sequence[TokenScore]) -> Json:
        return {
            "content": [
                {
                    **self._scored(score.token, score.log_probability),
                    "top_logprobs": [self._scored(token, value) for token, value in score.top],
                }
                for score in scores
            ],
            "refusal": None,
        }

    def _scored(self, token: int, value: float) -> Json:
        return {"token": self._token(token), "logprob": value, "bytes": list(self._model.token_bytes(token))}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


class TextForm(AnswerForm):
    """/v1/completions"""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: Model, model_id: str, fingerprint: str) -> None:
        super().__init__(model, model_id, fingerprint)
        self._offset = 0  # characters of the tokens so far

    def _choice(self, text: str, reason: str | None, logprobs: Json | None) -> list[Json]:
        return [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason}]

    def chunk(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore]) -> Json:
        text = "".join(part for part in parts if isinstance(part, str))
        return self._object(self.chunk_kind, self._choice(text, None, self._logprobs(scores) if scores else None))

    def last_chunk(self, finish: Finish) -> Json:
        return self._object(self.chunk_kind, self._choice("", finish.reason, None))

    def whole(self, parts: Sequence[str | ToolCall], scores: Sequence[TokenScore] | None, finish: Finish) -> Json:
        text = "".join(part for part in parts if isinstance(part, str))
        logprobs = None if scores is None else self._logprobs(scores)
        return self._object(self.kind, self._choice(text, finish.reason, logprobs), usage=usage(finish))

    def _logprobs(self, scores: Sequence[TokenScore]) -> Json:
        tokens = [self._token(score.token) for score in scores]
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [score.log_probability for score in scores],
            "top_logprobs": [{self._token(token): value for token, value in score.top} for score in scores],
            "text_offset": offsets,
        }


def event(value: object) -> bytes:
    """One server-sent event. JSON escapes line ends, so the data is one line."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"
