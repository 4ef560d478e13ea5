"""Tokenizers given as ranks: tiktoken's encodings and rank files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.byte_level import merges_from_ranks
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, Tokenizer, TokenType


def read_rank_file(path: Path) -> dict[bytes, int]:
    """A .tiktoken file: per line a token in base64 and its rank."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; check the path") from None
    ranks = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise TokenizerError(f"{path}: line {number} is not a token and a rank; download the file again") from None
    return ranks


def from_ranks(
    ranks: Mapping[bytes, int],
    pre_tokenizer: PreTokenizer,
    special_tokens: Mapping[str, int],
    *,
    end_of_text: str | None = None,
) -> Tokenizer:
    """A tokenizer that gives what tiktoken gives: two tokens merge where their concatenation is a token, the lowest
    rank first, and ranks are the ids. `end_of_text` names the special token that ends a text."""
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise TokenizerError("the ranks lack some of the 256 single bytes; the rank file is not complete")
    if end_of_text is not None and end_of_text not in special_tokens:
        raise TokenizerError(f"{end_of_text!r} is not among the special tokens {sorted(special_tokens)}")
    ids = [*ranks.values(), *special_tokens.values()]
    if len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) >= 2 * len(ids) + 1024:
        raise TokenizerError("ranks and special tokens do not number the tokens; the rank file is damaged")
    tokens = [b""] * (max(ids) + 1)
    types = [TokenType.UNUSED] * len(tokens)
    for token, rank in ranks.items():
        tokens[rank], types[rank] = token, TokenType.NORMAL
    for text, index in special_tokens.items():
        tokens[index], types[index] = text.encode("utf-8"), TokenType.CONTROL
    eos = None if end_of_text is None else special_tokens[end_of_text]
    return Tokenizer(
        algorithm=Algorithm.BYTE_PAIRS,
        tokens=tuple(tokens),
        types=tuple(types),
        pre_tokenizer=pre_tokenizer,
        merges=merges_from_ranks(ranks),
        whole_pieces=True,
        eos=eos,
        ends_text=frozenset() if eos is None else frozenset({eos}),
    )
