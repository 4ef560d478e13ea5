"""The vocabularies of encoders and encoder-decoders in GGUF files: WordPiece ("bert") and Unigram ("t5"), as llama.cpp
reads them (llm_tokenizer_wpm and llm_tokenizer_ugm in llama-vocab.cpp)."""

from __future__ import annotations

from rbe_edge.sources.tokenizers.gguf_fields import Fields, common_fields, read_tokens
from rbe_edge.sources.tokenizers.gguf_special import as_text, with_special
from rbe_edge.sources.tokenizers.normalization import NO_NORMALIZATION, Keys, Normalization, bert_steps, charsmap_step
from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE
from rbe_edge.sources.tokenizers.sentencepiece_model import piece_tokens
from rbe_edge.sources.tokenizers.tokenizer import (
    Algorithm,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    TokenType,
    split_for,
)
from rbe_edge.sources.tokenizers.unigram import UNKNOWN_PENALTY
from rbe_edge.sources.tokenizers.word_pieces import LONGEST_WORD, decoded_words


def read_gguf_words(fields: Fields) -> Tokenizer:
    """WordPiece. The file writes U+2581 in front of tokens that begin words, nothing in front of the others. Text is
    always brought into lower case and loses its accents."""
    found = read_tokens(fields)
    texts = found.texts
    plain = (TokenType.NORMAL, TokenType.UNUSED)
    types = as_text(found.types, (TokenType.UNUSED,), range(len(texts)))
    continuing = frozenset(
        index
        for index, (text, kind) in enumerate(zip(texts, types, strict=True))
        if kind in plain and not text.startswith(ESCAPED_SPACE) and not (text.startswith("[") and text.endswith("]"))
    )
    words = [text.removeprefix(ESCAPED_SPACE).encode("utf-8", "replace") for text in texts]
    common = common_fields(fields, found, add_bos=False)
    first = _named(fields, texts, ("cls", "bos"), "[CLS]")
    last = _named(fields, texts, ("seperator", "separator", "eos"), "[SEP]")
    tokenizer = Tokenizer(
        algorithm=Algorithm.WORD_PIECES,
        tokens=decoded_words(words, types, continuing, 0, cleans=True),
        types=types,
        pre_tokenizer=PreTokenizer.BERT,
        continuing=continuing,
        longest_word=LONGEST_WORD,
        normalization=Normalization(bert_steps(clean=True, han=True, strip_accents=True, lower=True)),
        **{
            **common,
            "unknown": _named(fields, texts, ("unknown",), "[UNK]"),
            "before": () if first is None or fields.get("ggml.add_bos_token", bool) is False else (first,),
            "after": () if last is None or fields.get("ggml.add_sep_token", bool) is False else (last,),
        },
    )
    return with_special(tokenizer, texts, fields.model_name())


def _named(fields: Fields, texts: list[str], keys: tuple[str, ...], text: str) -> int | None:
    """The token that the first of some keys names, else the one that is written so."""
    ids = [token for token in (fields.token(key, len(texts)) for key in keys) if token is not None]
    return ids[0] if ids else texts.index(text) if text in texts else None


def read_gguf_unigram(fields: Fields) -> Tokenizer:
    """Unigram, with the map of characters that the file holds."""
    found = read_tokens(fields)
    types = as_text(found.types, (TokenType.UNUSED,), range(len(found.texts)))
    tokens, types = piece_tokens(list(zip(found.texts, types, strict=True)), escaped_spaces=True, where=fields.where)
    scores = tuple(float(score) for score in fields.list("ggml.scores", (int, float), len(tokens)))
    normal = [index for index, kind in enumerate(found.types) if kind is TokenType.NORMAL]
    collapses = fields.get("ggml.remove_extra_whitespaces", bool, False)
    prefixed = fields.get("ggml.add_space_prefix", bool, False) or collapses
    charsmap = _charsmap(fields)
    common = common_fields(fields, found, add_bos=False, add_eos=True)
    if common["unknown"] is None:
        common["unknown"] = next((i for i, text in enumerate(found.texts) if text == "<unk>"), None)
    tokenizer = Tokenizer(
        algorithm=Algorithm.UNIGRAM,
        tokens=tokens,
        types=types,
        pre_tokenizer=split_for(tokens, [index for index, kind in enumerate(types) if kind is TokenType.NORMAL]),
        scores=scores,
        unknown_score=min((scores[index] for index in normal), default=0.0) - UNKNOWN_PENALTY,
        space_prefix=SpacePrefix.TEXT if prefixed else SpacePrefix.NONE,
        fuse_unknown=True,
        escaped_spaces=True,
        collapse_spaces=collapses,
        normalization=Normalization((charsmap_step(Keys.LONGEST),), charsmap) if charsmap else NO_NORMALIZATION,
        **common,
    )
    return with_special(tokenizer, found.texts, fields.model_name())


def _charsmap(fields: Fields) -> bytes:
    """The map of characters: a list of bytes, with or without a sign."""
    values = fields.get("ggml.precompiled_charsmap", list)
    if not values:
        return b""
    numbers = fields.list("ggml.precompiled_charsmap", int)
    if not all(-128 <= number <= 255 for number in numbers):
        raise fields.damaged("ggml.precompiled_charsmap", "is no list of bytes")
    return bytes(number & 255 for number in numbers)
