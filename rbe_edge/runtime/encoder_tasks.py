"""What people do with an encoder, in one call each: vectors of texts, words for gaps, an order of documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rbe_edge.errors import OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.encoder import Encoder, EncoderOptions
from rbe_edge.runtime.encoder_info import Pooling
from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.encoder_texts import Text
    from rbe_edge.runtime.engine_model import EngineModel

    FloatArray = npt.NDArray[np.float32]


def prompt_text(model: EngineModel, name: str | None) -> str:
    """What is put before a text: the prompt of that name, or the file's default. Raises OptionError for another."""
    info = model.encoder_info
    chosen = info.default_prompt if name is None else name
    if chosen is None:
        return ""
    if chosen not in info.prompts:
        names = ", ".join(info.prompts) or "none"
        raise OptionError(f"this model has no prompt {chosen}; it has: {names}")
    return info.prompts[chosen]


def scaled(vectors: FloatArray) -> FloatArray:
    """Each row scaled to length 1; a row of zeros stays."""
    import numpy as np

    lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def check_embeds(model: EngineModel, pooling: Pooling | None) -> None:
    """Raises OptionError where no vector stands for a text."""
    info = model.encoder_info
    if info.is_classes and pooling is None:
        raise OptionError("this model gives scores of classes, not embeddings; use Encoder.pooled() or Model.rank()")
    if info.pooling is None and pooling is None:
        kind = "its file does not say which" if info.is_encoder else "it is a decoder, not made for embeddings"
        raise OptionError(f'no vector stands for a text, {kind}; pass pooling="mean" or pooling="last"')


def embed(
    model: EngineModel,
    texts: Iterable[Text],
    *,
    pooling: Pooling | None,
    normalize: bool,
    prompt: str | None,
    cut: bool,
    progress: Report | None,
) -> FloatArray:
    """See Model.embed()."""
    require(not isinstance(texts, str), "give a list of texts, not one text")
    check_embeds(model, pooling)
    prefix = prompt_text(model, prompt)
    with Encoder(model, EncoderOptions(pooling=pooling)) as encoder:
        vectors = encoder.pooled(encoder.read(texts, cut=cut, prefix=prefix), progress=progress)
    return scaled(vectors) if normalize and not model.encoder_info.is_normalized else vectors


def encode(
    model: EngineModel,
    sentences: str | Sequence[str],
    *,
    normalize: bool,
    prompt_name: str | None,
    prompt: str | None,
) -> FloatArray:
    """See Model.encode()."""
    texts = [sentences] if isinstance(sentences, str) else list(sentences)
    check_embeds(model, None)
    prefix = prompt_text(model, prompt_name) if prompt is None else prompt
    with Encoder(model) as encoder:
        vectors = encoder.pooled(encoder.read(texts, cut=True, prefix=prefix))
    vectors = scaled(vectors) if normalize else vectors
    return vectors[0] if isinstance(sentences, str) else vectors


_MASKS = ("[MASK]", "<mask>")


def mask_token(model: EngineModel) -> tuple[str, int]:
    """How the gap of a text is written, and its token. Raises OptionError where the tokenizer has none."""
    for text in _MASKS:
        token = model.token_id(text)
        if token is not None:
            return text, token
    raise OptionError("the tokenizer of this model has no token for a gap ([MASK] or <mask>)")


def fill(model: EngineModel, text: str, top: int) -> list[list[tuple[str, float]]]:
    """See Model.fill()."""
    import numpy as np

    from rbe_edge.runtime.probabilities import log_softmax

    require(top >= 1, f"top must be 1 or more, not {top}")
    if not model.encoder_info.has_word_head:
        raise OptionError("this model has no head that fills in words; use a model for masked words, such as BERT")
    written, mask = mask_token(model)
    with Encoder(model) as encoder:
        (tokens,) = encoder.read([text], parse_special=True)
        positions = [at for at, token in enumerate(tokens.tokens) if token == mask]
        require(len(positions) > 0, f"the text has no gap; write {written} where a word is missing")
        logits = encoder.word_logits(tokens, positions)
    shares = np.exp(log_softmax(logits[:, : model.tokenizer_size]))  # rows behind the vocabulary are padding
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    return [
        [(_word(model, int(token)), float(row[token])) for token in order]
        for row, order in zip(shares, best, strict=True)
    ]


def _word(model: EngineModel, token: int) -> str:
    return model.token_bytes(token, special=True).decode("utf-8", "replace").strip()


def rank(model: EngineModel, query: str, documents: Sequence[str], cut: bool) -> list[tuple[int, float]]:
    """See Model.rank()."""
    if not model.encoder_info.ranks:
        raise OptionError("only a cross encoder, which scores a query and a document together, ranks documents")
    with Encoder(model) as encoder:
        scores = encoder.pooled(encoder.read([(query, document) for document in documents], cut=cut))[:, 0]
    return sorted(((at, float(score)) for at, score in enumerate(scores)), key=lambda pair: (-pair[1], pair[0]))
