"""Draws tokens from logits: rbe_sampler."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import OptionError
from rbe_edge.runtime.options import SamplingOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def raw_options(options: SamplingOptions) -> _native.SamplingOptions:
    """As C takes them."""
    return _native.SamplingOptions(
        struct_bytes=ctypes.sizeof(_native.SamplingOptions),
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repeat_penalty=options.repeat_penalty,
        repeat_last=options.repeat_last,
        seed=options.seed,
    )


def adjust(sampler: Any, options: SamplingOptions) -> None:
    """Gives an rbe_sampler the biases and penalties of the answer, which begins now. Raises OptionError for a token
    that the vocabulary does not have."""
    lib = _native.library()
    if options.presence_penalty or options.frequency_penalty:
        _native.check(lib.rbe_sampler_penalize(sampler, options.presence_penalty, options.frequency_penalty))
    if options.logit_bias:
        count = len(options.logit_bias)
        tokens = (ctypes.c_uint32 * count)(*(token for token, _ in options.logit_bias))
        biases = (ctypes.c_float * count)(*(bias for _, bias in options.logit_bias))
        _native.check(lib.rbe_sampler_bias(sampler, tokens, biases, count), OptionError)


class Sampler:
    """Draws from logits of n_vocabulary numbers. The same options and logits give the same tokens."""

    def __init__(self, n_vocabulary: int, options: SamplingOptions) -> None:
        raw = raw_options(options)
        self._is_borrowed = False
        self._handle: Any = ctypes.POINTER(_native.SamplerHandle)()
        status = _native.library().rbe_sampler_create(n_vocabulary, ctypes.byref(raw), ctypes.byref(self._handle))
        _native.check(status)
        try:
            adjust(self._handle, options)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, handle: Any) -> Sampler:
        """A sampler over an rbe_sampler that another object owns. It is valid as long as the owner; close() does not
        free it."""
        sampler = object.__new__(cls)
        sampler._is_borrowed = True
        sampler._handle = handle
        return sampler

    def draw(self, logits: Any) -> int:
        """A token; logits: a C pointer to float[n_vocabulary]. Does not remember the token: see accept."""
        token = ctypes.c_uint32()
        _native.check(_native.library().rbe_sampler_draw(self._handle, logits, ctypes.byref(token)))
        return token.value

    def draw_from(self, logits: npt.NDArray[np.float32]) -> int:
        """The same from an array, float32 [n_vocabulary]."""
        return self.draw(_native.pointer(logits, ctypes.c_float))

    def accept(self, token: int) -> None:
        """Tells of a token that is now part of the text, for the repetition penalty."""
        _native.check(_native.library().rbe_sampler_accept(self._handle, token))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and not self._is_borrowed:
            _native.library().rbe_sampler_free(handle)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
