"""Byte-level BPE: the alphabet in which its files write bytes, and merges written as text or ranks."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.tokenizer import Merge


@functools.cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


def to_bytes(token: str) -> bytes:
    """The bytes that a token written in the alphabet stands for; one with other characters stands for its UTF-8."""
    table = byte_of_character()
    try:
        return bytes([table[character] for character in token])
    except KeyError:
        return token.encode("utf-8", "replace")


def merges_from_pairs(pairs: Iterable[str | list[str]], ids: Mapping[str, int], where: str) -> tuple[Merge, ...]:
    """Merges as listed in merges.txt or tokenizer.json: "left right" or [left, right], the first with rank 0."""
    merges = []
    for rank, pair in enumerate(pairs):
        parts = pair.split(" ") if isinstance(pair, str) else pair
        if len(parts) != 2:
            raise TokenizerError(f"{where}: merge {rank} is {shown(pair)}, not two tokens; the file is damaged")
        left, right = parts
        try:
            merges.append(Merge(ids[left], ids[right], rank, ids[left + right]))
        except KeyError as missing:
            raise TokenizerError(
                f"{where}: merge {rank} needs the token {shown(missing.args[0])}, which the vocabulary has not; its "
                f"files do not match"
            ) from None
    return tuple(merges)


def merges_from_ranks(ranks: Mapping[bytes, int]) -> tuple[Merge, ...]:
    """The merges of a vocabulary read as ranks, as tiktoken reads it: any two tokens whose concatenation is a token
    merge, the lowest id first. Listed as every way to cut a token into two tokens."""
    merges = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = ranks.get(token[:cut]), ranks.get(token[cut:])
            if left is not None and right is not None:
                merges.append(Merge(left, right, rank, rank))
    return tuple(merges)
