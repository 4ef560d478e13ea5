"""The C tokenizer for tests, through the package's own binding."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from types import TracebackType

from rbe_edge import _native
from rbe_edge.errors import TokenizerError

Bytes = ctypes.POINTER(ctypes.c_char)


class NativeTokenizer:
    """An opened blob; close it, or use it in a `with`."""

    def __init__(self, blob: bytes) -> None:
        self.lib = _native.library()
        self.blob = ctypes.create_string_buffer(blob, len(blob))
        self.handle = ctypes.POINTER(_native.TokenizerHandle)()
        status = self.lib.rbe_tokenizer_open(
            ctypes.cast(self.blob, ctypes.c_void_p), len(blob), ctypes.byref(self.handle)
        )
        _native.check(status, TokenizerError)

    def __enter__(self) -> NativeTokenizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.lib.rbe_tokenizer_close(self.handle)
        self.handle = ctypes.POINTER(_native.TokenizerHandle)()

    def encode(self, text: str | bytes, *, special_prefix: bool = False, parse_special: bool = False) -> list[int]:
        data = text.encode("utf-8") if isinstance(text, str) else text
        flags = special_prefix * _native.TOKENIZE_SPECIAL_PREFIX + parse_special * _native.TOKENIZE_PARSE_SPECIAL
        capacity = 2 * len(data) + 16
        tokens = (ctypes.c_uint32 * capacity)()
        count = ctypes.c_size_t()
        status = self.lib.rbe_tokenize(self.handle, data, len(data), flags, tokens, capacity, ctypes.byref(count))
        _native.check(status, TokenizerError)
        return tokens[: count.value]

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        text, size = Bytes(), ctypes.c_size_t()
        status = self.lib.rbe_token_bytes(self.handle, token, special, ctypes.byref(text), ctypes.byref(size))
        _native.check(status, TokenizerError)
        return text[: size.value]

    def decode(self, tokens: Iterable[int], *, special: bool = False) -> bytes:
        ids = list(tokens)
        texts = {token: self.token_bytes(token, special=special) for token in set(ids)}
        return b"".join(texts[token] for token in ids)

    def find(self, text: bytes) -> int | None:
        token: int = self.lib.rbe_token_find(self.handle, text, len(text))
        return None if token == _native.NO_TOKEN else token

    def ends_text(self, token: int) -> bool:
        return bool(self.lib.rbe_token_ends_text(self.handle, token))

    @property
    def size(self) -> int:
        size: int = self.lib.rbe_tokenizer_size(self.handle)
        return size


class NativeStream:
    """A text stream over a NativeTokenizer."""

    def __init__(self, tokenizer: NativeTokenizer, stops: Sequence[bytes] = ()) -> None:
        self.tokenizer = tokenizer
        self.lib = tokenizer.lib
        self.handle = ctypes.POINTER(_native.TextStreamHandle)()
        self.stopped = False
        array = (ctypes.c_char_p * len(stops))(*stops)
        status = self.lib.rbe_text_stream_create(tokenizer.handle, array, len(stops), ctypes.byref(self.handle))
        _native.check(status, TokenizerError)

    def __del__(self) -> None:
        self.lib.rbe_text_stream_free(self.handle)

    def push(self, token: int) -> str:
        text, size, stopped = Bytes(), ctypes.c_size_t(), ctypes.c_int()
        status = self.lib.rbe_text_stream_push(
            self.handle, token, ctypes.byref(text), ctypes.byref(size), ctypes.byref(stopped)
        )
        _native.check(status, TokenizerError)
        self.stopped = bool(stopped.value)
        return text[: size.value].decode("utf-8")  # strict: the output is always valid

    def finish(self) -> str:
        text, size = Bytes(), ctypes.c_size_t()
        _native.check(
            self.lib.rbe_text_stream_finish(self.handle, ctypes.byref(text), ctypes.byref(size)), TokenizerError
        )
        return text[: size.value].decode("utf-8")
