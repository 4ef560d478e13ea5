"""What version 2 of the `tokenizer` blob adds: pieces and scores of Unigram and WordPiece, steps of normalization."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.normalization import Normalization
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, Tokenizer, TokenType

ALGORITHMS = frozenset({Algorithm.WORD_PIECES, Algorithm.UNIGRAM})
HEADER_BYTES = 192
MAX_PIECE_BYTES = 512
MAX_WORD = 1 << 16


class Addition(NamedTuple):
    """header: what follows the fields of version 1. pieces: the sections between the special tokens and the attributes.
    steps: those at the end."""

    header: bytes
    pieces: list[bytes]
    steps: list[bytes]


def addition(tokenizer: Tokenizer, mergeable: Iterable[int]) -> Addition:
    """What a blob of version 2 has besides. mergeable: the tokens that text may become.

    TokenizerError where the format's limits do not hold the tokenizer.
    """
    _check_special(tokenizer)
    first, continuing = _pieces(tokenizer, mergeable)
    scores = _scores(tokenizer)
    rows, texts = _steps(tokenizer.normalization)
    charsmap = tokenizer.normalization.charsmap
    if not 0 <= tokenizer.longest_word <= MAX_WORD:
        raise TokenizerError(f"words of {tokenizer.longest_word} characters; {MAX_WORD} are supported")
    header = struct.pack(
        "<8Id",
        len(first),
        len(continuing),
        len(scores) // tokenizer.size,
        len(tokenizer.normalization.steps),
        len(texts),
        len(charsmap),
        tokenizer.longest_word,
        0,
        tokenizer.unknown_score,
    )
    pieces = [_little_endian(array("I", first)), _little_endian(array("I", continuing))]
    return Addition(header, [*pieces, scores] if scores else pieces, [rows, _padded(texts), _padded(charsmap)])


def _check_special(tokenizer: Tokenizer) -> None:
    """Special tokens are looked for at each place of a text too."""
    kinds = (TokenType.CONTROL, TokenType.USER_DEFINED)
    texts = [text for text, kind in zip(tokenizer.tokens, tokenizer.types, strict=True) if kind in kinds]
    if tokenizer.searched is not None:
        texts += [text for text, _ in (*tokenizer.searched.given, *tokenizer.searched.prepared)]
    for text in texts:
        _check_length(text)


def _check_length(text: bytes) -> None:
    if len(text) > MAX_PIECE_BYTES:
        raise TokenizerError(
            f"the token {shown(text.decode('utf-8', 'replace'))} has {len(text)} bytes; {MAX_PIECE_BYTES} are "
            f"supported for Unigram and WordPiece"
        )


def _pieces(tokenizer: Tokenizer, mergeable: Iterable[int]) -> tuple[list[int], list[int]]:
    """What is looked for, sorted by its bytes: WordPiece's tokens without the space in front, those that continue words
    by themselves. Of two with the same bytes the later stands, as in package tokenizers."""
    words = tokenizer.algorithm is Algorithm.WORD_PIECES
    lists: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    for index in mergeable:
        text = tokenizer.tokens[index]
        continues = index in tokenizer.continuing
        if words and not continues:
            text = text.removeprefix(b" ")
        _check_length(text)
        if text:
            lists[continues][text] = index
    first, continuing = ([found[text] for text in sorted(found)] for found in lists)
    return first, continuing


def _scores(tokenizer: Tokenizer) -> bytes:
    """In 32 bits where these hold all of them exactly, else in 64."""
    if tokenizer.algorithm is not Algorithm.UNIGRAM:
        return b""
    return _little_endian(array("f" if has_narrow_scores(tokenizer.scores) else "d", tokenizer.scores))


def has_narrow_scores(scores: Sequence[float]) -> bool:
    """Whether 32 bits hold all scores exactly. Those of SentencePiece are such."""
    return all(abs(score) < 3e38 for score in scores) and list(array("f", scores)) == list(scores)


def _steps(normalization: Normalization) -> tuple[bytes, bytes]:
    """The rows, and the texts of those that replace."""
    rows = array("I")
    texts = b""
    for step in normalization.steps:
        old, new = step.old.encode("utf-8", "replace"), step.new.encode("utf-8", "replace")
        rows.extend((step.kind, step.option, len(old), len(new)))
        texts += old + new
    return _little_endian(rows), texts


def _little_endian(values: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
