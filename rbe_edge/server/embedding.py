"""Vectors and scores of texts, by an encoder, or by a decoder whose states are pooled. Texts of requests that wait go
through the engine together."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence

from rbe_edge.runtime.encoder import Encoder, EncoderOptions
from rbe_edge.runtime.encoder_info import Pooling
from rbe_edge.runtime.encoder_tasks import scaled
from rbe_edge.runtime.encoder_texts import TokenText
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.server.together import Together

_TOKENS = 2048  # of a call, after which others have their turn: well below a second of a small model


class Embedding:
    """Encoders of a model, made when they are first needed: one for each pooling that is asked for. Use on one event
    loop; close() on any thread."""

    def __init__(self, model: Model, options: SessionOptions, queue_limit: int) -> None:
        self._model, self._options, self._queue_limit = model, options, queue_limit
        self._encoders: dict[Pooling | None, _Numbers] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Requests whose numbers are not all there."""
        return sum(one.together.waiting for one in self._encoders.values())

    async def numbers(
        self, texts: Sequence[TokenText], pooling: Pooling | None, gone: Callable[[], Awaitable[bool]]
    ) -> list[list[float]]:
        """For each text its vector, of length 1, or the scores of a model with classes. pooling: in place of the
        file's. Raises as Together.results()."""
        return await self._of(pooling).together.results(texts, gone)

    def _of(self, pooling: Pooling | None) -> _Numbers:
        with self._lock:
            if pooling not in self._encoders:
                options = EncoderOptions(threads=self._options.threads, planes=self._options.planes, pooling=pooling)
                made = self._encoders[pooling] = _Numbers(self._model, options, self._queue_limit)
                if self._is_closed:
                    made.close()
            return self._encoders[pooling]

    def close(self) -> None:
        """Waits for the call that runs; none begins afterwards. Closing twice is allowed."""
        with self._lock:
            self._is_closed = True
            for one in self._encoders.values():
                one.close()


def _cost(text: TokenText) -> int:
    return len(text.tokens)


class _Numbers:
    """An encoder with one pooling, and the requests that wait for it."""

    def __init__(self, model: Model, options: EncoderOptions, queue_limit: int) -> None:
        self._model, self._options = model, options
        self._encoder: Encoder | None = None
        self.together = Together[TokenText, list[float]](self._compute, _cost, _TOKENS, queue_limit)

    def _compute(self, texts: list[TokenText]) -> list[list[float]]:
        if self._encoder is None:
            self._encoder = Encoder(self._model, self._options)
        found = self._encoder.pooled(texts)
        if not self._model.encoder_info.is_classes:
            found = scaled(found)
        rows: list[list[float]] = found.tolist()
        return rows

    def close(self) -> None:
        """Waits for the call that runs."""
        self.together.close()
        if self._encoder is not None:
            self._encoder.close()
