"""The objects that OpenAI's API answers with."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.chat_request import Request
from rbe_edge.server.forms import Choice, Form, Json, Parts, calls, event, thoughts, words
from rbe_edge.server.job import Finish, Job, TokenScore
from rbe_edge.server.power import usage_of_power
from rbe_edge.server.tool_calls import ToolCall

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model


class AnswerForm(Form):
    """The objects of the answers to one request, some to each of its prompts; a subclass for each endpoint. model_id:
    what is served."""

    prefix: str
    kind: str
    chunk_kind: str

    def __init__(self, model: Model, model_id: str, fingerprint: str, request: Request) -> None:
        self._model = model
        self._n, self._include_usage = request.choices, request.include_usage
        self._with_scores = request.top_logprobs is not None
        self._head = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}
        self._head["system_fingerprint"] = fingerprint

    def _object(self, kind: str, choices: list[Json], **more: object) -> Json:
        return {**self._head, "object": kind, "choices": choices, **more}

    def whole(self, choices: Sequence[Choice]) -> Json:
        made = [self._whole(index, choice, self._with_scores) for index, choice in enumerate(choices)]
        return self._object(self.kind, made, usage=self._usage(choices))

    def opening(self, jobs: Sequence[Job]) -> list[bytes]:
        first = [self.first_chunk(index) for index in range(len(jobs))]
        return [event(chunk) for chunk in first if chunk is not None]

    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        return [event(self.chunk(index, parts, scores))]

    def ending(self, index: int, finish: Finish) -> list[bytes]:
        return [event(self.last_chunk(index, finish))]

    def closing(self, choices: Sequence[Choice]) -> list[bytes]:
        usage = [event(self._object(self.chunk_kind, [], usage=self._usage(choices)))] if self._include_usage else []
        return [*usage, b"data: [DONE]\n\n"]

    def failure(self, error: ApiError) -> list[bytes]:
        return [event(error.body())]

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


class ChatForm(AnswerForm):
    """/v1/chat/completions"""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: Model, model_id: str, fingerprint: str, request: Request) -> None:
        super().__init__(model, model_id, fingerprint, request)
        self._calls: Counter[int] = Counter()  # that each answer has made so far

    def _chunk(self, index: int, delta: Json, reason: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._object(self.chunk_kind, [choice])

    def first_chunk(self, index: int) -> Json | None:
        return self._chunk(index, {"role": "assistant", "content": ""})

    def chunk(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        delta: Json = {}
        text, thought, made = words(parts), thoughts(parts), calls(parts)
        if thought:
            delta["reasoning_content"] = thought
        if text or not (made or thought):
            delta["content"] = text
        if made:
            first = self._calls[index]
            self._calls[index] += len(made)
            delta["tool_calls"] = [{"index": first + i, **_call(call)} for i, call in enumerate(made)]
        return self._chunk(index, delta, logprobs=self._logprobs(scores) if scores else None)

    def last_chunk(self, index: int, finish: Finish) -> Json:
        return self._chunk(index, {}, "tool_calls" if self._calls[index] else finish.reason)

    def _whole(self, index: int, choice: Choice, with_scores: bool) -> Json:
        assert choice.finish is not None
        text, made = words(choice.parts), [_call(call) for call in calls(choice.parts)]
        message: Json = {"role": "assistant", "content": text if text or not made else None, "refusal": None}
        if thought := thoughts(choice.parts):
            message["reasoning_content"] = thought
        if made:
            message["tool_calls"] = made
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(choice.scores) if with_scores else None,
            "finish_reason": "tool_calls" if made else choice.finish.reason,
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

    def __init__(self, model: Model, model_id: str, fingerprint: str, request: Request) -> None:
        super().__init__(model, model_id, fingerprint, request)
        self._offsets: Counter[int] = Counter()  # characters of the tokens of each answer so far

    def chunk(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> Json:
        logprobs = self._logprobs(index, scores) if scores else None
        return self._object(self.chunk_kind, [_text_choice(index, words(parts), None, logprobs)])

    def last_chunk(self, index: int, finish: Finish) -> Json:
        return self._object(self.chunk_kind, [_text_choice(index, "", finish.reason, None)])

    def _whole(self, index: int, choice: Choice, with_scores: bool) -> Json:
        assert choice.finish is not None
        logprobs = self._logprobs(index, choice.scores) if with_scores else None
        return _text_choice(index, words(choice.parts), choice.finish.reason, logprobs)

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
