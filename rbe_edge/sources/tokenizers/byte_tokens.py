"""ByT5's tokenizer, which has no file: a token for each byte behind three special ones, and names for gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, Tokenizer, TokenType

CLASS = "ByT5Tokenizer"

_SPECIAL = (b"<pad>", b"</s>", b"<unk>")
_PAD, _END, _UNKNOWN = range(3)
_EXTRA, _MOST_EXTRA = 125, 1 << 16


def byte_tokens(config: Mapping[str, Any], where: str) -> Tokenizer:
    """config: tokenizer_config.json. Every text ends with </s>."""
    extra = config.get("extra_ids", _EXTRA)
    if isinstance(extra, bool) or not isinstance(extra, int) or not 0 <= extra <= _MOST_EXTRA:
        raise TokenizerError(f"{where}: extra_ids is {shown(extra)}, expected a number up to {_MOST_EXTRA}")
    gaps = tuple(f"<extra_id_{number}>".encode() for number in range(extra))
    control, normal = TokenType.CONTROL, TokenType.NORMAL
    return Tokenizer(
        Algorithm.BYTE_PAIRS,
        (*_SPECIAL, *(bytes([byte]) for byte in range(256)), *gaps),
        (control, control, TokenType.UNKNOWN, *(normal,) * 256, *(control,) * extra),
        PreTokenizer.NONE,
        after=(_END,),
        eos=_END,
        unknown=_UNKNOWN,
        pad=_PAD,
        ends_text=frozenset({_END}),
    )
