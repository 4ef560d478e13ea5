"""Text into tokens and back: calls on an rbe_tokenizer, which belongs to its model. Any thread."""

from __future__ import annotations

import ctypes
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import TokenizerError
from rbe_edge.runtime.marked_text import for_tokenizer, is_marked
from rbe_edge.runtime.options import encoded


def size(tokenizer: Any) -> int:
    """How many tokens it knows. tokenizer: an rbe_tokenizer, here and below."""
    return int(_native.library().rbe_tokenizer_size(tokenizer))


def tokenize(tokenizer: Any, text: str, special: bool, parse_special: bool) -> list[int]:
    """Token ids of a text; special and parse_special as in Model.tokenize. Raises TokenizerError."""
    flags = _native.TOKENIZE_SPECIAL_PREFIX if special else 0
    if parse_special and is_marked(text):
        flags |= _native.TOKENIZE_MARKED
        text = for_tokenizer(text)
    elif parse_special:
        flags |= _native.TOKENIZE_PARSE_SPECIAL
    data = encoded(text)
    lib = _native.library()
    n_tokens = ctypes.c_size_t()
    capacity = len(data) + 16
    while True:
        tokens = (ctypes.c_uint32 * capacity)()
        status = lib.rbe_tokenize(tokenizer, data, len(data), flags, tokens, capacity, ctypes.byref(n_tokens))
        if status != _native.ERROR_CAPACITY or n_tokens.value <= capacity:
            break
        capacity = n_tokens.value
    _native.check(status, TokenizerError)
    return tokens[: n_tokens.value]


def token_bytes(tokenizer: Any, token: int, special: bool) -> bytes:
    """The bytes of one token; of a control token only with `special`. Raises TokenizerError for what is no token."""
    data = ctypes.POINTER(ctypes.c_char)()
    n_bytes = ctypes.c_size_t()
    status = _native.library().rbe_token_bytes(
        tokenizer, token, int(special), ctypes.byref(data), ctypes.byref(n_bytes)
    )
    _native.check(status, TokenizerError)
    return ctypes.string_at(data, n_bytes.value)


def token_id(tokenizer: Any, text: str) -> int | None:
    """The token that is written exactly so, control tokens included, or None."""
    data = encoded(text)
    token: int = _native.library().rbe_token_find(tokenizer, data, len(data))
    return None if token == _native.NO_TOKEN else token


def ends_text(tokenizer: Any, token: int) -> bool:
    """Whether generation should end at this token (end of text, end of turn)."""
    return bool(_native.library().rbe_token_ends_text(tokenizer, token))
