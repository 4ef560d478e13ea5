"""Reads SentencePiece models (tokenizer.model): BPE and Unigram.

The file is a protocol buffer (sentencepiece_model.proto of the SentencePiece project). The few fields that matter are
read here by their numbers, so that packing needs neither sentencepiece nor protobuf.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.added_tokens import AddedToken, AddedVocabulary, with_added
from rbe_edge.sources.tokenizers.normalization import NO_NORMALIZATION, Keys, Normalization, charsmap_step
from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE, TextRules
from rbe_edge.sources.tokenizers.tokenizer import (
    Algorithm,
    SearchedTokens,
    SpacePrefix,
    Tokenizer,
    TokenType,
    split_for,
)
from rbe_edge.sources.tokenizers.unigram import UNKNOWN_PENALTY
from rbe_edge.sources.tokenizers.vocabulary import BYTE_TOKEN

UNIGRAM, BPE = 1, 2
MODEL_TYPES = {3: "Word", 4: "Char"}

# Field numbers of sentencepiece_model.proto.
PIECES, TRAINER, NORMALIZER = 1, 2, 3
PIECE_TEXT, PIECE_SCORE, PIECE_TYPE = 1, 2, 3
MODEL_TYPE, WHITESPACE_AS_SUFFIX, BYTE_FALLBACK, UNK_ID, BOS_ID, EOS_ID, PAD_ID = 3, 24, 35, 40, 41, 42, 43
NO_ID = (1 << 64) - 1  # -1 as protocol buffers write it
_USER_DEFINED_MALUS = 0.1
NORMALIZER_NAME, CHARSMAP, DUMMY_PREFIX, REMOVE_EXTRA_SPACES, ESCAPE_SPACES = 1, 2, 3, 4, 5


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: numbers as int, everything else as bytes (protobuf.dev, "Encoding")."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > len(data) - at:
            raise ValueError("truncated")
        yield key >> 3, data[at : at + length]
        at += length


def _numbers(message: bytes | int | None) -> dict[int, int]:
    """The integer fields of a message; a missing message has none."""
    if not isinstance(message, bytes):
        return {}
    return {field: value for field, value in _fields(message) if isinstance(value, int)}


def _texts(message: bytes | int | None) -> dict[int, bytes]:
    """The other fields of a message."""
    if not isinstance(message, bytes):
        return {}
    return {field: value for field, value in _fields(message) if isinstance(value, bytes)}


def _token_id(value: int) -> int | None:
    """An int32 id; negative ones, which say that there is no such token, come as 64-bit numbers."""
    return None if value >= 1 << 31 else value


def read_sentencepiece(path: Path) -> Tokenizer:
    """A SentencePiece model, BPE or Unigram. Where it has a BOS token, every text begins with it, as with Llama's."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; check the path") from None
    try:
        return _read(data, path)
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(f"{path}: not a SentencePiece model ({error}); download the file again") from None


def _piece(message: bytes) -> tuple[str, float, TokenType]:
    text, score, kind = "", 0.0, TokenType.NORMAL
    for field, value in _fields(message):
        if field == PIECE_TEXT and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == PIECE_SCORE and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif field == PIECE_TYPE and isinstance(value, int):
            kind = TokenType(value)
    return text, score, kind


def _read(data: bytes, path: Path) -> Tokenizer:
    messages: dict[int, int | bytes] = {}
    pieces = []
    for field, value in _fields(data):
        if field == PIECES and isinstance(value, bytes):
            pieces.append(_piece(value))
        else:
            messages[field] = value
    if not pieces:
        raise ValueError("no pieces")
    trainer, normalizer = _numbers(messages.get(TRAINER)), _numbers(messages.get(NORMALIZER))
    kind = trainer.get(MODEL_TYPE, 1)
    if kind not in (UNIGRAM, BPE):
        raise TokenizerError(
            f"{path}: a SentencePiece model of type {MODEL_TYPES.get(kind, kind)} is not supported; supported are BPE "
            f"and Unigram"
        )
    if trainer.get(WHITESPACE_AS_SUFFIX):
        raise TokenizerError(f"{path}: white space at the end of tokens (treat_whitespace_as_suffix) is not supported")
    texts = _texts(messages.get(NORMALIZER))
    if texts.get(CHARSMAP) and kind == BPE:
        name = texts.get(NORMALIZER_NAME, b"").decode("utf-8", "replace")
        raise TokenizerError(f"{path}: with BPE the normalizer {shown(name)} is not supported; only `identity` is")
    normalization = _normalization(texts.get(CHARSMAP, b""), path)
    escaped = bool(normalizer.get(ESCAPE_SPACES, 1))
    normal = [score for _, score, type_ in pieces if type_ is TokenType.NORMAL]
    bos = _token_id(trainer.get(BOS_ID, 1))
    tokens, types = piece_tokens([(text, type_) for text, _, type_ in pieces], escaped_spaces=escaped, where=str(path))
    tokenizer = Tokenizer(
        algorithm=Algorithm.PRIORITIES if kind == BPE else Algorithm.UNIGRAM,
        tokens=tokens,
        types=types,
        unknown_score=0.0 if kind == BPE else min(normal, default=0.0) - UNKNOWN_PENALTY,
        normalization=normalization,
        pre_tokenizer=split_for(
            tokens, [i for i, type_ in enumerate(types) if type_ in (TokenType.NORMAL, TokenType.UNUSED)]
        ),
        scores=tuple(score for _, score, _ in pieces),
        space_prefix=SpacePrefix.TEXT if normalizer.get(DUMMY_PREFIX, 1) else SpacePrefix.NONE,
        fuse_unknown=True,
        escaped_spaces=escaped,
        collapse_spaces=bool(normalizer.get(REMOVE_EXTRA_SPACES, 1)),
        bos=bos,
        eos=_token_id(trainer.get(EOS_ID, 2)),
        unknown=_token_id(trainer.get(UNK_ID, 0)),
        pad=_token_id(trainer.get(PAD_ID, NO_ID)),
        before=() if bos is None else (bos,),
    )
    return tokenizer if kind == BPE else _with_user_defined(tokenizer, pieces)


def _with_user_defined(tokenizer: Tokenizer, pieces: list[tuple[str, float, TokenType]]) -> Tokenizer:
    """A Unigram tokenizer whose user-defined pieces compete with the others, as in SentencePiece: the score of each is
    little less than 0, or, where the scores of others are above 0, than the highest of them for each of its bytes."""
    user_defined = frozenset(index for index, (_, _, kind) in enumerate(pieces) if kind is TokenType.USER_DEFINED)
    if not user_defined:
        return tokenizer
    best = max([0.0, *(score for _, score, kind in pieces if kind is TokenType.NORMAL)])
    scores = list(tokenizer.scores)
    for index in user_defined:
        scores[index] = len(pieces[index][0].encode("utf-8")) * best - _USER_DEFINED_MALUS
    given = {
        text: index
        for index, text in enumerate(tokenizer.tokens)
        if tokenizer.types[index] is TokenType.CONTROL and text
    }
    text_like = [i for i, kind in enumerate(tokenizer.types) if kind in (TokenType.NORMAL, TokenType.USER_DEFINED)]
    return dataclasses.replace(
        tokenizer,
        scores=tuple(scores),
        pre_tokenizer=split_for(tokenizer.tokens, text_like),
        searched=SearchedTokens(tuple(sorted(given.items())), mergeable=user_defined),
    )


def _normalization(charsmap: bytes, path: Path) -> Normalization:
    """The map of characters of a model."""
    try:
        return Normalization((charsmap_step(Keys.BESIDE_TOKENS),), charsmap) if charsmap else NO_NORMALIZATION
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def with_configured(
    tokenizer: Tokenizer, tokens: Sequence[AddedToken], scheme: str | None, *, first: bool = False
) -> Tokenizer:
    """A SentencePiece tokenizer with the tokens that configuration files add to it.

    scheme: where Llama's classes put a space in front (`always`, `first`, `never`). They build the tokenizer again from
    the pieces alone, and look for all special pieces in the text as it was given.
    None: spaces and user-defined pieces as SentencePiece has them. An added token may rename a piece, and each text
    beside it has a prefix; first: only where a text begins.
    """
    vocabulary = {_text_of(tokenizer, index): index for index in range(tokenizer.size)}
    if scheme is None:
        renamed = {token.id for token in tokens if token.content not in vocabulary}
        vocabulary = {text: index for text, index in vocabulary.items() if index not in renamed}
    special = (TokenType.CONTROL, TokenType.UNKNOWN)
    pieces = {
        text: tokenizer.types[index] in special
        for text, index in vocabulary.items()
        if tokenizer.types[index] in (*special, TokenType.USER_DEFINED)
    }
    added = AddedVocabulary(vocabulary)
    added.add(tokens)
    own = {text: found for text, found in pieces.items() if text not in added.by_content}
    added.add(AddedToken(None, text, found) for text, found in own.items() if found or scheme is not None)
    numbered = added.tokens()
    size = max([tokenizer.size, *(index + 1 for index, _ in numbered)])
    if size > tokenizer.size + len(numbered) + 1024:
        raise TokenizerError(f"the added tokens go up to id {size - 1}, the tokenizer has {tokenizer.size} tokens")
    padded = tokenizer.padded_to(size)
    texts, types = list(padded.tokens), list(padded.types)
    for index, token in numbered:
        if types[index] is not TokenType.BYTE:
            content = token.content.replace(ESCAPED_SPACE, " ") if tokenizer.escaped_spaces else token.content
            texts[index] = content.encode("utf-8", "replace")
            types[index] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    result = dataclasses.replace(padded, tokens=tuple(texts), types=tuple(types))
    escaped = tokenizer.escaped_spaces
    if scheme is not None:
        prefix = {"always": SpacePrefix.FRAGMENT, "first": SpacePrefix.FIRST, "never": SpacePrefix.NONE}[scheme]
        result = dataclasses.replace(result, space_prefix=prefix, prefix_unless_space=True, collapse_spaces=False)
        return with_added(
            result, added, TextRules(False, result.pre_tokenizer, False, escaped, prefix, True, late_spaces=True)
        )
    if first and result.space_prefix is SpacePrefix.TEXT:
        result = dataclasses.replace(result, space_prefix=SpacePrefix.FIRST, prefix_unless_space=True)
    given = {token.content.encode("utf-8", "replace"): index for index, token in numbered}
    prepared = {result.tokens[vocabulary[text]]: vocabulary[text] for text, found in own.items() if not found}
    mergeable: frozenset[int] = frozenset()
    if tokenizer.algorithm is Algorithm.UNIGRAM:
        prepared, mergeable = {}, frozenset(prepared.values())
    single_word = frozenset(index for index, token in numbered if token.single_word)
    searched = SearchedTokens(
        tuple(sorted(given.items())), tuple(sorted(prepared.items())), single_word=single_word, mergeable=mergeable
    )
    return with_added(
        result, added, TextRules(False, result.pre_tokenizer, False, escaped, result.space_prefix, False), searched
    )


def _text_of(tokenizer: Tokenizer, index: int) -> str:
    """A piece as the model writes it."""
    data = tokenizer.tokens[index]
    if tokenizer.types[index] is TokenType.BYTE:
        return f"<0x{data[0]:02X}>"
    text = data.decode("utf-8", "replace")
    return text.replace(" ", ESCAPED_SPACE) if tokenizer.escaped_spaces else text


def piece_tokens(
    pieces: list[tuple[str, TokenType]], *, escaped_spaces: bool, where: str
) -> tuple[tuple[bytes, ...], tuple[TokenType, ...]]:
    """Bytes and types of pieces as SentencePiece and GGUF write them: <0x0A> for a byte, U+2581 for a space."""
    tokens = []
    for text, kind in pieces:
        if kind is TokenType.BYTE:
            byte = BYTE_TOKEN.fullmatch(text)
            if byte is None:
                raise TokenizerError(
                    f"{where}: the byte token {shown(text)} is not written as <0xNN>; the file is damaged"
                )
            tokens.append(bytes([int(byte[1], 16)]))
        else:
            tokens.append((text.replace(ESCAPED_SPACE, " ") if escaped_spaces else text).encode("utf-8", "replace"))
    return tuple(tokens), tuple(kind for _, kind in pieces)
