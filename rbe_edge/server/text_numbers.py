"""What requests ask of a model about texts in numbers, embeddings and order of documents, made ready for the engine."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from rbe_edge.errors import Cancelled, ContextFull, OptionError
from rbe_edge.runtime.encoder_tasks import prompt_text
from rbe_edge.runtime.encoder_texts import TextReader, TokenText
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.server.api_error import ApiError, wrong
from rbe_edge.server.embedding import Embedding
from rbe_edge.server.known_errors import api_error
from rbe_edge.server.scheduler import QueueFull, Stopped

if TYPE_CHECKING:
    from rbe_edge.runtime.encoder_info import Pooling
    from rbe_edge.runtime.encoder_texts import Text
    from rbe_edge.runtime.model import Model
    from rbe_edge.server.embedding_request import EmbeddingRequest, RankRequest

_MOST_LETTERS = 256  # for a token: no token of a vocabulary seen is longer


class TextNumbers:
    """Of one model, which is called model_id. Reading texts takes time, and is called off the event loop."""

    def __init__(self, model: Model, model_id: str, options: SessionOptions, queue_limit: int) -> None:
        self._model, self._model_id = model, model_id
        self._info = model.encoder_info
        self._reader = TextReader(model)
        self._embedding = Embedding(model, options, queue_limit)

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return self._embedding.waiting

    def close(self) -> None:
        """Waits for what is being computed. Closing twice is allowed."""
        self._embedding.close()

    def inputs(self, request: EmbeddingRequest, param: str = "input") -> list[TokenText]:
        """The texts of a request, as tokens. Raises ApiError, also where the model makes no embeddings."""
        self._check_embeds(request.pooling)
        if request.dimensions is not None and request.dimensions > self._width:
            raise wrong("dimensions", f"`dimensions` must be at most {self._width}, the model's own")
        try:
            prompt = prompt_text(self._model, request.prompt)
        except OptionError as error:
            raise wrong("prompt_name", str(error)) from None
        return [self._read(one, param, request.cut, prompt if isinstance(one, str) else "") for one in request.inputs]

    def pairs(self, request: RankRequest) -> list[TokenText]:
        """The query with each document, as tokens; what is too long is cut. Raises ApiError, also where the model is no
        cross encoder."""
        if not self._info.ranks:
            raise wrong("model", f"{self._model_id!r} is no cross encoder, so it ranks no documents; name one that is")
        return [self._read((request.query, one), "documents", True, "") for one in request.documents]

    @property
    def _width(self) -> int:
        return self._info.pooled or self._model.info.width

    def _check_embeds(self, pooling: Pooling | None) -> None:
        if self._info.is_classes:
            raise wrong("model", f"{self._model_id!r} gives scores of classes and no embeddings; name another model")
        if self._info.embeds or pooling is not None:
            return
        kind = "an encoder without a pooling of its own" if self._info.is_encoder else "a decoder"
        raise wrong(
            "model",
            f"{self._model_id!r} is {kind}, which nobody trained to embed texts; name a sentence encoder, or send "
            "`pooling`: mean or last to have its states pooled",
        )

    def _read(self, one: Text, param: str, cut: bool, prompt: str) -> TokenText:
        most = _MOST_LETTERS * self._info.context
        try:
            if isinstance(one, str):
                one = one[:most] if cut else one
                if len(one) > most:
                    raise ContextFull(f"it has about {len(one) // 4} tokens, and this model takes {self._info.context}")
            elif isinstance(one, tuple) and isinstance(one[0], str) and isinstance(one[1], str):
                one = (one[0][:most], one[1][:most])
            else:
                self._check_tokens(one, param)
            found = self._reader.read(one, cut=cut, prefix=prompt)
            return TokenText(array("I", found.tokens), found.second)  # there may be a million of them
        except ContextFull as error:
            raise wrong(param, f"a text is too long: {error}", code="context_length_exceeded") from None
        except OptionError as error:
            raise wrong(param, str(error)) from None

    def _check_tokens(self, tokens: Sequence[object], param: str) -> None:
        vocabulary = self._model.info.vocabulary
        if not all(isinstance(token, int) and 0 <= token < vocabulary for token in tokens):
            raise wrong(param, f"`{param}`: token ids are from 0 to {vocabulary - 1}")

    # ---- on the event loop ----

    async def numbers(
        self, texts: Sequence[TokenText], pooling: Pooling | None, gone: Callable[[], Awaitable[bool]]
    ) -> list[list[float]]:
        """The vector of each text, or its scores. gone: whether the client is. Raises ApiError."""
        try:
            return await self._embedding.numbers(texts, pooling, gone)
        except (QueueFull, Cancelled, Stopped) as error:
            raise api_error(error) from None
        except OptionError as error:
            raise ApiError(500, str(error)) from error


def usage(texts: Sequence[TokenText]) -> dict[str, int]:
    """What texts cost, as OpenAI tells it."""
    tokens = sum(len(text.tokens) for text in texts)
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """The first `dimensions` numbers, at length 1; None: all."""
    if dimensions is None or dimensions >= len(vector):
        return vector
    first = vector[:dimensions]
    length = sum(x * x for x in first) ** 0.5
    return [x / length for x in first] if length > 0 else first
