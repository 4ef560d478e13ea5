"""Draws tokens from logits: rbe_sampler."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any

from rbe_edge import _native
from rbe_edge.runtime.options import SamplingOptions


class Sampler:
    """Draws from logits of n_vocabulary numbers. The same options and logits give the same tokens."""

    def __init__(self, n_vocabulary: int, options: SamplingOptions) -> None:
        raw = _native.SamplingOptions(
            struct_bytes=ctypes.sizeof(_native.SamplingOptions),
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            repeat_penalty=options.repeat_penalty,
            repeat_last=options.repeat_last,
            seed=options.seed,
        )
        self._handle: Any = ctypes.POINTER(_native.SamplerHandle)()
        status = _native.library().rbe_sampler_create(n_vocabulary, ctypes.byref(raw), ctypes.byref(self._handle))
        _native.check(status)

    def draw(self, logits: Any) -> int:
        """A token; logits: a C pointer to float[n_vocabulary]. Does not remember the token: see accept."""
        token = ctypes.c_uint32()
        _native.check(_native.library().rbe_sampler_draw(self._handle, logits, ctypes.byref(token)))
        return token.value

    def accept(self, token: int) -> None:
        """Tells of a token that is now part of the text, for the repetition penalty."""
        _native.check(_native.library().rbe_sampler_accept(self._handle, token))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            _native.library().rbe_sampler_free(handle)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
