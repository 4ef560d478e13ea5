"""Writes the `tokenizer` blob (docs/tokenizers.md)."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from itertools import accumulate

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import blob_version2
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, Merge, SearchedTokens, Tokenizer, TokenType

MAGIC = b"RBTK"
HEADER_BYTES = 128
NO_TOKEN = 0xFFFFFFFF
MAX_TOKENS = 1 << 24
MAX_TOKEN_BYTES = 1 << 16

STRIP_LEFT, STRIP_RIGHT, ENDS_TEXT, SINGLE_WORD = 16, 32, 64, 128


def write_blob(tokenizer: Tokenizer) -> bytes:
    """The blob of a tokenizer. TokenizerError where the format's limits do not hold it."""
    if tokenizer.size > MAX_TOKENS:
        raise TokenizerError(f"{tokenizer.size} tokens are more than the {MAX_TOKENS} that a .rbe file holds")
    longest = max(len(token) for token in tokenizer.tokens)
    if longest > MAX_TOKEN_BYTES:
        raise TokenizerError(f"a token of {longest} bytes is longer than the {MAX_TOKEN_BYTES} that a .rbe file holds")
    newer = None
    if tokenizer.algorithm in blob_version2.ALGORITHMS:
        newer = blob_version2.addition(tokenizer, mergeable(tokenizer))
    slots = _slots(tokenizer) if newer is None else []
    special = _special(tokenizer)
    merges = _merges(tokenizer)
    searched = tokenizer.searched
    sections = [
        _u32(accumulate((len(token) for token in tokenizer.tokens), initial=0)),
        _u32(_byte_tokens(tokenizer)),
        _u32(slots),
        _u32(special),
        *(_merging(tokenizer, merges) if newer is None else newer.pieces),
        _padded(_attributes(tokenizer)),
        _padded(b"".join(tokenizer.tokens)),
        *([] if searched is None else _searched(searched)),
        *([] if newer is None else newer.steps),
    ]
    header_bytes = HEADER_BYTES if newer is None else blob_version2.HEADER_BYTES
    flags = [
        tokenizer.prefix_unless_space,
        tokenizer.whole_pieces,
        tokenizer.fuse_unknown,
        tokenizer.escaped_spaces,
        tokenizer.collapse_spaces,
        tokenizer.nfc,
        searched is not None,
        searched is not None and searched.late_spaces,
    ]
    header = struct.pack(
        "<4s28I",
        MAGIC,
        1 if newer is None else 2,
        header_bytes + sum(len(section) for section in sections),
        tokenizer.algorithm,
        tokenizer.pre_tokenizer,
        tokenizer.space_prefix,
        sum(flag << bit for bit, flag in enumerate(flags)),
        *(_id(token) for token in (tokenizer.bos, tokenizer.eos, _unknown(tokenizer), tokenizer.pad)),
        *_affix(tokenizer.before),
        *_affix(tokenizer.after),
        tokenizer.size,
        sum(map(len, tokenizer.tokens)),
        len(slots),
        len(special),
        len(merges),
        *_searched_counts(searched),
    )
    header = header.ljust(HEADER_BYTES, b"\0") + (b"" if newer is None else newer.header)
    return b"".join([header.ljust(header_bytes, b"\0"), *sections])


def _merging(tokenizer: Tokenizer, merges: list[Merge]) -> list[bytes]:
    """The sections that say what merges."""
    if tokenizer.algorithm is Algorithm.PRIORITIES:
        return [_u32(_priorities(tokenizer))]
    rows = (value for merge in merges for value in (merge.right, merge.rank, merge.result))
    return [_u32(_first_merges(tokenizer.size, merges)), _u32(rows)]


def _u32(values: Iterable[int]) -> bytes:
    items = array("I", values)
    assert items.itemsize == 4
    if sys.byteorder == "big":
        items.byteswap()
    return items.tobytes()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _id(token: int | None) -> int:
    return NO_TOKEN if token is None else token


def _unknown(tokenizer: Tokenizer) -> int | None:
    """The token for what has no other.

    Some files name a token that begins or ends texts. What has no token is left out then: nothing that somebody writes
    may end a text.
    """
    other = {tokenizer.bos, tokenizer.eos} | tokenizer.ends_text
    return None if tokenizer.unknown in other else tokenizer.unknown


def _affix(ids: tuple[int, ...]) -> list[int]:
    return [len(ids), *ids, *[0] * (4 - len(ids))]


def _byte_tokens(tokenizer: Tokenizer) -> list[int]:
    """For every byte the token of just this byte that encoding starts from or falls back on."""
    table = [NO_TOKEN] * 256
    if tokenizer.algorithm is Algorithm.BYTE_PAIRS:
        ids = mergeable(tokenizer)
    else:
        ids = [index for index, kind in enumerate(tokenizer.types) if kind is TokenType.BYTE]
    for index in ids:
        token = tokenizer.tokens[index]
        if len(token) == 1 and table[token[0]] == NO_TOKEN:
            table[token[0]] = index
    return table


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def mergeable(tokenizer: Tokenizer) -> list[int]:
    """Ids of the tokens that text can merge to: with priorities also unused ones, which split again at the end."""
    kinds = {TokenType.NORMAL, TokenType.UNUSED} if tokenizer.algorithm is Algorithm.PRIORITIES else {TokenType.NORMAL}
    more = frozenset() if tokenizer.searched is None else tokenizer.searched.mergeable
    return [
        index
        for index, kind in enumerate(tokenizer.types)
        if kind in kinds or (kind is TokenType.USER_DEFINED and index in more)
    ]


def _slots(tokenizer: Tokenizer) -> list[int]:
    """Open addressing, linear probing, half full at most. Of two tokens with the same bytes the lower id stands."""
    unique: dict[bytes, int] = {}
    for index in mergeable(tokenizer):
        if tokenizer.tokens[index]:
            unique.setdefault(tokenizer.tokens[index], index)
    n_slots = 2
    while n_slots < 2 * len(unique):
        n_slots *= 2
    slots = [NO_TOKEN] * n_slots
    for token, index in unique.items():
        slot = fnv1a(token) & (n_slots - 1)
        while slots[slot] != NO_TOKEN:
            slot = (slot + 1) & (n_slots - 1)
        slots[slot] = index
    return slots


def _special(tokenizer: Tokenizer) -> list[int]:
    """Control and user-defined tokens in the order of their bytes; of equals the lower id."""
    unique: dict[bytes, int] = {}
    for index, type_ in enumerate(tokenizer.types):
        if type_ in (TokenType.CONTROL, TokenType.USER_DEFINED) and tokenizer.tokens[index]:
            unique.setdefault(tokenizer.tokens[index], index)
    return [unique[token] for token in sorted(unique)]


def _searched_counts(searched: SearchedTokens | None) -> tuple[int, int, int]:
    """Of texts looked for in the text as it was given and in the prepared one, and their bytes."""
    if searched is None:
        return 0, 0, 0
    texts = [text for text, _ in (*searched.given, *searched.prepared)]
    return len(searched.given), len(searched.prepared), sum(map(len, texts))


def _searched(searched: SearchedTokens) -> list[bytes]:
    """The sections of what is looked for: tokens, offsets, texts."""
    entries = (*searched.given, *searched.prepared)
    longest = max((len(text) for text, _ in entries), default=0)
    if longest > MAX_TOKEN_BYTES:
        raise TokenizerError(
            f"an added token of {longest} bytes is longer than the {MAX_TOKEN_BYTES} that a .rbe file holds"
        )
    return [
        _u32(token for _, token in entries),
        _u32(accumulate((len(text) for text, _ in entries), initial=0)),
        _padded(b"".join(text for text, _ in entries)),
    ]


def _merges(tokenizer: Tokenizer) -> list[Merge]:
    """Sorted by left and right. Merges to control tokens are left out: plain text must never become one."""
    allowed = {TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED}
    unique = {
        (merge.left, merge.right): merge for merge in tokenizer.merges if tokenizer.types[merge.result] in allowed
    }
    return [unique[pair] for pair in sorted(unique)]


def _first_merges(size: int, merges: list[Merge]) -> Iterable[int]:
    counts = [0] * size
    for merge in merges:
        counts[merge.left] += 1
    return accumulate(counts, initial=0)


def _priorities(tokenizer: Tokenizer) -> list[int]:
    """The rank of every token's score, 0 for the highest; equal scores share a rank."""
    ranks = {score: rank for rank, score in enumerate(sorted(set(tokenizer.scores), reverse=True))}
    return [ranks[score] for score in tokenizer.scores]


def _attributes(tokenizer: Tokenizer) -> bytes:
    result = bytearray(tokenizer.types)
    for ids, bit in (
        (tokenizer.strip_left, STRIP_LEFT),
        (tokenizer.strip_right, STRIP_RIGHT),
        (tokenizer.ends_text, ENDS_TEXT),
        (frozenset() if tokenizer.searched is None else tokenizer.searched.single_word, SINGLE_WORD),
    ):
        for token in ids:
            result[token] |= bit
    return bytes(result)
