"""What llama.cpp's server answers at /completion and /infill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbe_edge.server.api_error import ApiError
from rbe_edge.server.chat_request import Request
from rbe_edge.server.forms import Choice, Form, Json, Parts, event, words
from rbe_edge.server.job import Finish, TokenScore

if TYPE_CHECKING:
    from rbe_edge.server.service import Service


class LlamaForm(Form):
    """One answer."""

    def __init__(self, service: Service, request: Request) -> None:
        self._model, self._name = service.model, service.model_id
        self._with_scores = request.top_logprobs is not None
        self._began = time.monotonic()

    def whole(self, choices: Sequence[Choice]) -> Json:
        choice = choices[0]
        assert choice.finish is not None
        scores = {"completion_probabilities": self._scores(choice.scores)} if self._with_scores else {}
        return {**self._end(choice.finish), "content": words(choice.parts), **scores}

    def piece(self, index: int, parts: Parts, scores: Sequence[TokenScore]) -> list[bytes]:
        found: Json = {"index": 0, "content": words(parts), "stop": False}
        return [event({**found, "completion_probabilities": self._scores(scores)} if scores else found)]

    def ending(self, index: int, finish: Finish) -> list[bytes]:
        return [event(self._end(finish))]

    def failure(self, error: ApiError) -> list[bytes]:
        return [event(error.body())]

    def _end(self, finish: Finish) -> Json:
        kind = "word" if finish.stop is not None else "limit" if finish.reason == "length" else "eos"
        now = time.monotonic()
        first = finish.first_token_at or now
        return {
            "index": 0,
            "content": "",
            "stop": True,
            "model": self._name,
            "tokens_predicted": finish.generated_tokens,
            "tokens_evaluated": finish.prompt_tokens,
            "tokens_cached": finish.cached_tokens,
            "truncated": False,
            "stop_type": kind,
            "stopping_word": finish.stop or "",
            "timings": {"prompt_ms": 1e3 * (first - self._began), "predicted_ms": 1e3 * (now - first)},
        }

    def _scores(self, scores: Sequence[TokenScore]) -> list[Json]:
        return [
            {
                **self._scored(score.token, score.log_probability),
                "top_logprobs": [self._scored(token, value) for token, value in score.top],
            }
            for score in scores
        ]

    def _scored(self, token: int, value: float) -> Json:
        data = self._model.token_bytes(token, special=True)
        return {"id": token, "token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": value}
