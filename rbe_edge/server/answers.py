"""The objects that OpenAI's API answers with."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rbe_edge.server.job import Finish, TokenScore
from rbe_edge.server.power import usage_of_power
from rbe_edge.server.tool_calls import ToolCall

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

Json = dict[str, Any]


Parts = Sequence[str | ToolCall]


@dataclass
class Choice:
    """One of the answers to a request, as far as it has come."""

    parts: list[str | ToolCall] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    finish: Finish | None = None


class AnswerForm(ABC):
    """The objects of the answers to one request, n to each of its prompts; a subclass for each endpoint. model_id: what
    is served. index: of the answer among all."""

    prefix: str
    kind: str
    chunk_kind: str

    def __init__(self, model: Model, model_id: str, fingerprint: str, n: int) -> None:
        self._model = model
        self._n = n
        self._head = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}
        self._head["system_fingerprint"] = fingerprint

    def _object(self, kind: str, choices: list[Json], **more: object) -> Json:
        return {**self._head, "object": kind, "choices": choices, **more}

    def whole(self, choices: Sequence[Choice], with_scores: bool) -> Json:
        """All answers at once. The choices are finished."""
        made = [self._whole(index, choice, with_scores) for index, choice in enumerate(choices)]
        return self._object(self.kind, made, usage=self._usage(choices))

    def usage_chunk(self, choices: Sequence[Choice]) -> Json:
        """The last chunk, where usage was asked for."""
        return self._object(self.chunk_kind, [], usage=self._usage(choices))

    def first_chunk(self, index: int) -> Json | None:
        """What an answer begins with, where that is anything."""
        return None

    @abstractmethod
    def chunk(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        """A piece of an answer."""

    @abstractmethod
    def last_chunk(self, index: int, finish: Finish) -> Json:
        """The end of an answer."""

    @abstractmethod
    def _whole(self, index: int, choice: Choice, with_scores: bool) -> Json:
        """One entry of `choices`."""

    def _usage(self, choices: Sequence[Choice]) -> Json:
        """Counts each prompt once: the first answer to it has its tokens, the others shared them."""
        finishes = [choice.finish for choice in choices if choice.finish is not None]
        prompt = sum(finish.prompt_tokens for finish in finishes[:: self._n])
        generated = sum(finish.generated_tokens for finish in finishes)
        cached = sum(finish.cached_tokens for finish in finishes[:: self._n])
        uses = [finish.power for finish in finishes if finish.power is not None]
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": cached},
            **({"power": usage_of_power(uses, generated)} if uses else {}),
        }

    def _token(self, token: int) -> str:
        return self._model.token_bytes(token, special=True).decode("utf-8", "replace")


def _words(parts: Parts) -> str:
    return "".join(part for part in parts if isinstance(part, str))


class ChatForm(AnswerForm):
    """/v1/chat/completions"""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: Model, model_id: str, fingerprint: str, n: int) -> None:
        super().__init__(model, model_id, fingerprint, n)
        self._calls: Counter[int] = Counter()  # that each answer has made so far

    def _chunk(self, index: int, delta: Json, reason: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._object(self.chunk_kind, [choice])

    def first_chunk(self, index: int) -> Json | None:
        return self._chunk(index, {"role": "assistant", "content": ""})

    def chunk(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        delta: Json = {}
        text = _words(parts)
        calls = [part for part in parts if isinstance(part, ToolCall)]
        if text or not calls:
            delta["content"] = text
        if calls:
            first = self._calls[index]
            self._calls[index] += len(calls)
            delta["tool_calls"] = [{"index": first + i, **_call(call)} for i, call in enumerate(calls)]
        return self._chunk(index, delta, logprobs=self._logprobs(scores) if scores else None)

    def last_chunk(self, index: int, finish: Finish) -> Json:
        return self._chunk(index, {}, "tool_calls" if self._calls[index] else finish.reason)

    def _whole(self, index: int, choice: Choice, with_scores: bool) -> Json:
        assert choice.finish is not None
        text = _words(choice.parts)
        calls = [_call(part) for part in choice.parts if isinstance(part, ToolCall)]
        message: Json = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(choice.scores) if with_scores else None,
            "finish_reason": "tool_calls" if calls else choice.finish.reason,
        }

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

    def __init__(self, model: Model, model_id: str, fingerprint: str, n: int) -> None:
        super().__init__(model, model_id, fingerprint, n)
        self._offsets: Counter[int] = Counter()  # characters of the tokens of each answer so far

    def chunk(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        logprobs = self._logprobs(index, scores) if scores else None
        return self._object(self.chunk_kind, [_text_choice(index, _words(parts), None, logprobs)])

    def last_chunk(self, index: int, finish: Finish) -> Json:
        return self._object(self.chunk_kind, [_text_choice(index, "", finish.reason, None)])

    def _whole(self, index: int, choice: Choice, with_scores: bool) -> Json:
        assert choice.finish is not None
        logprobs = self._logprobs(index, choice.scores) if with_scores else None
        return _text_choice(index, _words(choice.parts), choice.finish.reason, logprobs)

    def _logprobs(self, index: int, scores: Sequence[TokenScore]) -> Json:
        tokens = [self._token(score.token) for score in scores]
        offsets = []
        for token in tokens:
            offsets.append(self._offsets[index])
            self._offsets[index] += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [score.log_probability for score in scores],
            "top_logprobs": [{self._token(token): value for token, value in score.top} for score in scores],
            "text_offset": offsets,
        }


def _text_choice(index: int, text: str, reason: str | None, logprobs: Json | None) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def event(value: object) -> bytes:
    """One server-sent event. JSON escapes line ends, so the data is one line."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"
