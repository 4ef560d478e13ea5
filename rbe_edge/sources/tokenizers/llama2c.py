"""Reads the tokenizer files of llama2.c (tok512.bin, tokenizer.bin; A. Karpathy)."""

from __future__ import annotations

import struct
from pathlib import Path

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.sentencepiece_model import piece_tokens
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, SpacePrefix, Tokenizer, TokenType, split_for

UNKNOWN, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3
FIRST_NORMAL = FIRST_BYTE + 256


def read_llama2c(path: Path) -> Tokenizer:
    """A llama2.c tokenizer: int32 longest token, then per token float32 score, int32 length, bytes.

    The file says nothing of types; they follow from the ids, as in llama2.c's run.c: <unk>, <s>, </s>, 256 byte
    tokens, normal tokens. Its models were trained on texts parted by <s>, so that this ends a text too.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; check the path") from None
    at = 4
    pieces: list[tuple[str, TokenType]] = []
    scores: list[float] = []
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            at += 8
            if not 0 <= length <= len(data) - at:
                raise ValueError(f"token {len(pieces)} has {length} bytes")
            pieces.append((data[at : at + length].decode("utf-8"), TokenType.NORMAL))
            scores.append(score)
            at += length
    except (struct.error, ValueError) as error:
        raise TokenizerError(f"{path}: not a llama2.c tokenizer ({error}); download the file again") from None
    if len(pieces) < FIRST_NORMAL or pieces[FIRST_BYTE][0] != "<0x00>":
        raise TokenizerError(f"{path}: not a llama2.c tokenizer (no byte tokens from id 3); download the file again")
    pieces[UNKNOWN] = ("<unk>", TokenType.UNKNOWN)
    pieces[BOS] = ("<s>", TokenType.CONTROL)
    pieces[EOS] = ("</s>", TokenType.CONTROL)
    pieces[FIRST_BYTE:FIRST_NORMAL] = [(text, TokenType.BYTE) for text, _ in pieces[FIRST_BYTE:FIRST_NORMAL]]
    tokens, types = piece_tokens(pieces, escaped_spaces=True, where=str(path))
    return Tokenizer(
        algorithm=Algorithm.PRIORITIES,
        tokens=tokens,
        types=types,
        pre_tokenizer=split_for(tokens, list(range(FIRST_NORMAL, len(tokens)))),
        scores=tuple(scores),
        space_prefix=SpacePrefix.TEXT,
        escaped_spaces=True,
        bos=BOS,
        eos=EOS,
        unknown=UNKNOWN,
        before=(BOS,),
        ends_text=frozenset({BOS, EOS}),
    )
