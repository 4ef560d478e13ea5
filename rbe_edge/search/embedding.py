"""A sentence encoder as the index uses it, and a cross encoder that puts what was found in a better order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError
from rbe_edge.progress import Report
from rbe_edge.runtime.encoder_tasks import prompt_text, scaled
from rbe_edge.search.fingerprint import fingerprint
from rbe_edge.search.index import Found, Index, MadeWith

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.model import Model

    Floats = npt.NDArray[np.float32]

_PASSAGE_TOKENS = 200  # sentence encoders are trained on 128 to 512
_AROUND = 16  # tokens of a prompt, and those that stand around every text
_QUERY_PROMPTS = ("query", "search_query", "Retrieval-query")
_PASSAGE_PROMPTS = ("document", "passage", "search_document", "Retrieval-document")


class SentenceEncoder:
    """A model that makes embeddings, and memory to run it, which close() frees."""

    def __init__(self, model: Model) -> None:
        """Raises ModelError for a model that makes none."""
        info = model.encoder_info
        if not info.embeds:
            raise ModelError(
                f"{model.info.path} makes no embeddings; give a sentence encoder, such as all-MiniLM-L6-v2"
            )
        self._model = model
        self._encoder = model.encoder()
        self._query, self._passage = (_prompt(model, names) for names in (_QUERY_PROMPTS, _PASSAGE_PROMPTS))

    def close(self) -> None:
        """Closing twice is allowed."""
        self._encoder.close()

    def __enter__(self) -> SentenceEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def made_with(self) -> MadeWith:
        """What an index of this model says of it. path: absolute."""
        path = Path(self._model.info.path)
        name = str(self._model.metadata.get("name", "")) or path.stem
        info = self._model.encoder_info
        tokens = max(8, min(_PASSAGE_TOKENS, info.context - _AROUND))
        return MadeWith(fingerprint(path), name, str(path.absolute()), info.pooled, tokens)

    def check(self, index: Index) -> None:
        """Raises ModelError where an index was made with another model."""
        made, own = index.made_with, self.made_with()
        if made.fingerprint != own.fingerprint:
            raise ModelError(
                f"{index.path} was made with {made.name} ({made.path}), not with this {own.path}; give that one, or "
                "make a new index"
            )

    def count(self, text: str) -> int:
        return len(self._model.tokenize(text, special=False))

    def vectors(self, texts: Sequence[str], progress: Report | None = None) -> Floats:
        """float32 [texts][width], each of length 1. The progress counts tokens."""
        return self._scaled(texts, self._passage, progress)

    def query(self, text: str) -> Floats:
        """float32 [width] of length 1."""
        vector: Floats = self._scaled([text], self._query, None)[0]
        return vector

    def _scaled(self, texts: Sequence[str], prompt: str, progress: Report | None) -> Floats:
        return scaled(self._encoder.pooled(self._encoder.read(texts, cut=True, prefix=prompt), progress=progress))


def _prompt(model: Model, names: Sequence[str]) -> str:
    """What the model wants before a text of that kind: the first of its prompts with one of the names, else its
    default."""
    return prompt_text(model, next((name for name in names if name in model.encoder_info.prompts), None))


def ranked(model: Model, query: str, found: Sequence[Found]) -> list[Found]:
    """What was found, best first by a cross encoder, whose score replaces the cosine. Raises ModelError for a model
    that is none."""
    scores = model.rank(query, [one.text for one in found])
    return [replace(found[place], score=score) for place, score in scores]
