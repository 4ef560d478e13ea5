"""Tokens into text as they come: rbe_text_stream."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from rbe_edge import _native
from rbe_edge.errors import TokenizerError
from rbe_edge.runtime.options import encoded


class HasTokenizer(Protocol):
    """A model: `handle` raises once it is closed, `tokenizer_handle` where it has no tokenizer."""

    @property
    def handle(self) -> Any: ...
    @property
    def tokenizer_handle(self) -> Any: ...


class TextStream:
    """Valid text from tokens: holds back incomplete characters and what may become a stop sequence.

    A fresh stream continues a text; if the first token pushed is BOS it decodes one from its beginning, which for a
    SentencePiece tokenizer drops the space it put in front (docs/tokenizers.md).
    """

    def __init__(self, model: HasTokenizer, stops: Sequence[str] = ()) -> None:
        texts = [encoded(stop) for stop in stops]
        self._model = model
        self._handle: Any = ctypes.POINTER(_native.TextStreamHandle)()
        self.stopped = False  # a stop sequence is complete
        status = _native.library().rbe_text_stream_create(
            model.tokenizer_handle, (ctypes.c_char_p * len(texts))(*texts), len(texts), ctypes.byref(self._handle)
        )
        _native.check(status, TokenizerError)

    def push(self, token: int) -> str:
        """The text that this token completes; often empty."""
        assert self._model.handle  # raises where the model, and its tokenizer with it, has been closed
        text, n_bytes, stopped = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t(), ctypes.c_int()
        status = _native.library().rbe_text_stream_push(
            self._handle, token, ctypes.byref(text), ctypes.byref(n_bytes), ctypes.byref(stopped)
        )
        _native.check(status, TokenizerError)
        self.stopped = bool(stopped.value)
        return ctypes.string_at(text, n_bytes.value).decode("utf-8")

    def finish(self) -> str:
        """What is still held back."""
        text, n_bytes = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        status = _native.library().rbe_text_stream_finish(self._handle, ctypes.byref(text), ctypes.byref(n_bytes))
        _native.check(status, TokenizerError)
        return ctypes.string_at(text, n_bytes.value).decode("utf-8")

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            _native.library().rbe_text_stream_free(handle)

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
