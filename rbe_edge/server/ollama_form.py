"""What Ollama's API answers to /api/chat and /api/generate: JSON, or a line of it for each piece."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.error_forms import ollama_error
from rbe_edge.server.forms import Choice, Form, Json, Parts, calls, json_line, thoughts, words
from rbe_edge.server.job import Finish, TokenScore

if TYPE_CHECKING:
    from rbe_edge.server.service import Service


def timestamp(seconds: float | None = None) -> str:
    """As Go writes it; seconds since 1970, None: now."""
    when = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class OllamaForm(Form):
    """One answer. is_chat: to /api/chat, else to /api/generate."""

    media_type = "application/x-ndjson"

    def __init__(self, service: Service, asked_as: str, load_seconds: float, *, is_chat: bool) -> None:
        """asked_as: what the client calls the model."""
        self._model, self._name, self._is_chat = service.model, asked_as, is_chat
        self._load = load_seconds
        self._began = time.monotonic()

    def whole(self, choices: Sequence[Choice]) -> Json:
        choice = choices[0]
        assert choice.finish is not None
        return {**self._said(choice.parts, choice.scores), **self._end(choice.finish)}

    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        return [json_line({**self._said(parts, scores), "done": False})]

    def ending(self, index: int, finish: Finish) -> list[bytes]:
        return [json_line({**self._said((), ()), **self._end(finish)})]

    def failure(self, error: ApiError) -> list[bytes]:
        return [json_line(ollama_error(error))]

    def without_answer(self, reason: str) -> Json:
        """Where the model was only to be loaded or to go."""
        return {**self._said((), ()), "done": True, "done_reason": reason}

    def _said(self, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        found: Json = {"model": self._name, "created_at": timestamp()}
        thought, made = thoughts(parts), calls(parts)
        if self._is_chat:
            message: Json = {"role": "assistant", "content": words(parts)}
            if thought:
                message["thinking"] = thought
            if made:
                functions = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in made]
                message["tool_calls"] = [{"function": {**one, "index": i}} for i, one in enumerate(functions)]
            found["message"] = message
        else:
            found["response"] = words(parts)
            if thought:
                found["thinking"] = thought
        return {**found, "logprobs": [self._scored(one) for one in scores]} if scores else found

    def _end(self, finish: Finish) -> Json:
        now = time.monotonic()
        first = finish.first_token_at or now
        return {
            "done": True,
            "done_reason": finish.reason,
            "total_duration": _nanoseconds(now - self._began + self._load),
            "load_duration": _nanoseconds(self._load),
            "prompt_eval_count": finish.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(first - self._began),
            "eval_count": finish.generated_tokens,
            "eval_duration": _nanoseconds(now - first),
        }

    def _scored(self, score: TokenScore) -> Json:
        top = [self._token(token, value) for token, value in score.top]
        return {**self._token(score.token, score.log_probability), **({"top_logprobs": top} if top else {})}

    def _token(self, token: int, value: float) -> Json:
        data = self._model.token_bytes(token, special=True)
        return {"token": data.decode("utf-8", "replace"), "logprob": value, "bytes": list(data)}


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
